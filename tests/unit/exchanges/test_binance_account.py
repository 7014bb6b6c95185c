"""Binance's account language: the documentation's signature, reads by id, rates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.errors import BadSetting, ExchangeUnavailable
from livermore_dagster.exchanges.account_contract import (
    Credentials,
    PageCursor,
    UnknownProduct,
    Verdict,
)
from livermore_dagster.exchanges.binance_account import (
    BinanceAccountDialect,
    hmac_signature,
    listen_key_request,
)
from livermore_dagster.exchanges.rows import BINANCE, BINANCE_US
from livermore_dagster.market.exchange import Product
from livermore_dagster.market.trades import Balance, Liquidity, Side

DIALECT = BinanceAccountDialect(BINANCE)
US = BinanceAccountDialect(BINANCE_US)
# Key, secret, query and signature of rest-api.md, "SIGNED Endpoint Examples for POST /api/v3/order".
DOCUMENTED = Credentials(
    "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
)
DOCUMENTED_QUERY = (
    "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
    "&timestamp=1499827319559"
)
DOCUMENTED_SIGNATURE = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
PRODUCTS = {"BNBBTC": Product("BNBBTC", "BNB", "BTC", True)}
MARKET = PageCursor("BNBBTC")
TRADE = {
    "symbol": "BNBBTC", "id": 28457, "orderId": 100234, "orderListId": -1, "price": "4.00000100",
    "qty": "12.00000000", "quoteQty": "48.00001200", "commission": "10.10000000", "commissionAsset": "BNB",
    "time": 1499865549590, "isBuyer": True, "isMaker": False, "isBestMatch": True,
}  # fmt: skip
ORDER = {
    "symbol": "BNBBTC", "orderId": 1, "orderListId": -1, "clientOrderId": "myOrder1", "price": "0.1",
    "origQty": "1.0", "executedQty": "0.5", "cummulativeQuoteQty": "0.05", "status": "CANCELED",
    "timeInForce": "GTC", "type": "LIMIT", "side": "SELL", "stopPrice": "0.0", "icebergQty": "0.0",
    "time": 1499827319559, "updateTime": 1499827319999, "isWorking": True,
}  # fmt: skip
RATES = {"maker": "0.00100000", "taker": "0.00150000", "buyer": "0.00000000", "seller": "0.00010000"}
NOTHING = dict.fromkeys(RATES, "0.00000000")


def trades(ids: Sequence[int]) -> bytes:
    return json.dumps([{**TRADE, "id": number} for number in ids]).encode()


# --- signing --------------------------------------------------------------------------------------------
def test_the_signature_of_the_documentation() -> None:
    assert hmac_signature(DOCUMENTED, DOCUMENTED_QUERY) == DOCUMENTED_SIGNATURE


def test_exactly_what_leaves_is_signed_and_the_signature_is_last() -> None:
    signed = DIALECT.sign(DIALECT.fills_request(PageCursor("BNBBTC", "28458")), DOCUMENTED, 1499827319559)
    query, _, signature = signed.query.rpartition("&signature=")
    assert dict(parse_qsl(query)) == {
        "symbol": "BNBBTC", "fromId": "28458", "limit": "1000", "recvWindow": "5000",
        "timestamp": "1499827319559",
    }  # fmt: skip
    assert signature == hmac_signature(DOCUMENTED, query)
    assert (signed.path, signed.headers) == ("/api/v3/myTrades", {"X-MBX-APIKEY": DOCUMENTED.key})
    assert DOCUMENTED.secret not in repr(signed) + signed.query
    assert DOCUMENTED.key not in repr(signed)


def test_a_listen_key_is_asked_for_with_the_key_alone() -> None:
    for method, key in (("POST", None), ("PUT", "abc")):
        request = listen_key_request(method, key)
        signed = US.sign(request, DOCUMENTED, 1)
        assert (request.method, signed.query) == (method, "" if key is None else "listenKey=abc")


@pytest.mark.parametrize("secret", ["two words", "-----BEGIN PRIVATE KEY-----\nx", "schlüssel"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(BadSetting, match="secret is not one of Binance's") as refused:
        DIALECT.check_credentials(Credentials("k" * 64, secret))
    assert secret not in str(refused.value)


def test_verdicts() -> None:
    assert DIALECT.verdict(400, "-1021 Timestamp for this request is outside") is Verdict.CLOCK
    for code in ("-2015 Invalid API-key, IP, or permissions for action.", "-2014 x", "-1022 x", "-2008 x"):
        assert DIALECT.verdict(400, code) is Verdict.CREDENTIALS
    assert DIALECT.verdict(401, "") is Verdict.CREDENTIALS
    assert DIALECT.verdict(400, "-1121 Invalid symbol.") is Verdict.OTHER


# --- rows -----------------------------------------------------------------------------------------------
def test_a_fill_is_as_it_was_booked() -> None:
    (fill,) = DIALECT.parse_fills(json.dumps([TRADE]).encode(), MARKET, PRODUCTS).fills
    assert (fill.fill_id, fill.order_id, fill.base, fill.quote) == ("28457", "100234", "BNB", "BTC")
    assert (fill.value, fill.fee, fill.fee_currency) == (Decimal("48.000012"), Decimal("10.1"), "BNB")
    assert (fill.side, fill.liquidity, fill.filled_ms) == (Side.BUY, Liquidity.TAKER, 1499865549590)


def test_an_order_tells_no_fee_and_a_forgotten_value_is_none_at_all() -> None:
    rows = [ORDER, {**ORDER, "orderId": 2, "status": "NEW", "cummulativeQuoteQty": "-1.0"}]
    known, forgotten = DIALECT.parse_orders(json.dumps(rows).encode(), MARKET, PRODUCTS).orders
    assert (known.filled_value, known.fee, known.fee_currency, known.settled) == (
        Decimal("0.05"), None, None, True,
    )  # fmt: skip
    assert (known.created_ms, known.updated_ms, known.side) == (1499827319559, 1499827319999, Side.SELL)
    assert (forgotten.filled_value, forgotten.settled) == (Decimal(0), False)


@pytest.mark.parametrize("field", sorted(set(TRADE) - {"orderListId", "isBestMatch"}))
def test_a_trade_without_a_field_is_refused_by_its_name(field: str) -> None:
    lacking = {name: value for name, value in TRADE.items() if name != field}
    with pytest.raises(ExchangeUnavailable, match=field):
        DIALECT.parse_fills(json.dumps([lacking]).encode(), MARKET, PRODUCTS)


def test_an_unknown_market_is_not_taken_apart_by_its_name() -> None:
    with pytest.raises(UnknownProduct):
        DIALECT.parse_fills(trades([1]), MARKET, {})


# --- paging ---------------------------------------------------------------------------------------------
@given(
    st.sets(st.integers(min_value=0, max_value=10**12), max_size=60).map(sorted),
    st.integers(min_value=1, max_value=7),
)
def test_reading_by_id_gives_every_trade_once(ids: list[int], page_rows: int) -> None:
    dialect = BinanceAccountDialect(BINANCE)
    dialect.page_rows = page_rows
    cursor: PageCursor | None = MARKET
    read: list[str] = []
    asked = 0
    while cursor is not None:
        asked += 1
        first = int(dialect.fills_request(cursor).params["fromId"])
        served = [number for number in ids if number >= first][:page_rows]
        page = dialect.parse_fills(trades(served), cursor, PRODUCTS)
        read += [fill.fill_id for fill in page.fills]
        cursor = page.next
    assert read == [str(number) for number in ids]
    assert asked == len(ids) // page_rows + 1


def test_lists_begin_at_their_first_id() -> None:
    """An orderId of 0 is no id: a door that takes it for none sends the newest orders alone."""
    assert DIALECT.orders_request(MARKET).params["orderId"] == "1"
    assert DIALECT.fills_request(MARKET).params["fromId"] == "0"
    assert DIALECT.orders_request(PageCursor("BNBBTC", "17")).params["orderId"] == "17"


@pytest.mark.parametrize(
    ("ids", "why"), [([5, 5], "do not rise"), ([6, 5], "do not rise"), ([2], "2 after 2")]
)
def test_ids_that_do_not_rise_are_refused(ids: list[int], why: str) -> None:
    with pytest.raises(ExchangeUnavailable, match=why):
        DIALECT.parse_fills(trades(ids), PageCursor("BNBBTC", "3"), PRODUCTS)


def test_a_row_of_another_market_is_refused() -> None:
    with pytest.raises(ExchangeUnavailable, match="Asked for BNBBTC, got a row of 'ETHBTC'"):
        DIALECT.parse_orders(json.dumps([{**ORDER, "symbol": "ETHBTC"}]).encode(), MARKET, PRODUCTS)


def test_a_market_must_be_named() -> None:
    with pytest.raises(ValueError, match="by market"):
        DIALECT.orders_request(PageCursor())


# --- rates and balances ---------------------------------------------------------------------------------
def commission(**discount: object) -> bytes:
    told = {
        "symbol": "BNBBTC", "standardCommission": RATES, "specialCommission": NOTHING,
        "taxCommission": {**NOTHING, "maker": "0.0002", "taker": "0.0003"},
        "discount": {
            "enabledForAccount": True, "enabledForSymbol": True, "discountAsset": "BNB",
            "discount": "0.75000000", **discount,
        },
    }  # fmt: skip
    return json.dumps(told).encode()


def test_rates_of_a_market_hold_tax_and_the_dearer_side() -> None:
    tier = DIALECT.parse_tier(commission(), "BNBBTC")
    assert (tier.maker_rate, tier.taker_rate) == (Decimal("0.0013"), Decimal("0.0019"))
    assert tier.name == "BNBBTC (× 0.75 where paid in BNB)"
    assert (tier.volume_30d, tier.fees_30d, tier.currency) == (None, None, None)
    assert DIALECT.parse_tier(commission(enabledForSymbol=False), "BNBBTC").name == "BNBBTC"


def test_the_commission_of_the_documentation_s_example() -> None:
    """faqs/commission_faq.md: who sells at once pays taker and seller rates of all three kinds."""

    def rates(*four: str) -> dict[str, str]:
        return dict(zip(("maker", "taker", "buyer", "seller"), four, strict=True))

    told = {
        "symbol": "BTCUSDT",
        "standardCommission": rates("0.00000010", "0.00000020", "0.00000030", "0.00000040"),
        "specialCommission": rates("0.01000000", "0.02000000", "0.03000000", "0.04000000"),
        "taxCommission": rates("0.00000112", "0.00000114", "0.00000118", "0.00000116"),
        "discount": {
            "enabledForAccount": False, "enabledForSymbol": False, "discountAsset": None, "discount": None,
        },
    }  # fmt: skip
    tier = DIALECT.parse_tier(json.dumps(told).encode(), "BTCUSDT")
    assert tier.taker_rate == Decimal("0.00000060") + Decimal("0.00000230") + Decimal("0.06")
    assert tier.name == "BTCUSDT"


def test_rates_of_the_account_where_a_market_has_none() -> None:
    account = json.dumps({"commissionRates": RATES, "balances": []}).encode()
    assert DIALECT.tier_request("BNBBTC").path == "/api/v3/account/commission"
    assert US.tier_request("BNBBTC").path == DIALECT.tier_request(None).path == "/api/v3/account"
    for dialect, market in ((DIALECT, None), (US, "BNBBTC")):
        tier = dialect.parse_tier(account, market)
        assert (tier.name, tier.maker_rate, tier.taker_rate) == (
            "account", Decimal("0.0011"), Decimal("0.0016"),
        )  # fmt: skip


def test_balances_are_read() -> None:
    held = [
        {"asset": "BTC", "free": "1.5", "locked": "0.5"}, {"asset": "BNB", "free": "0.0", "locked": "2.0"},
        {"asset": "DOGE", "free": "0.00000000", "locked": "0.00000000"},
    ]  # fmt: skip
    account = json.dumps({"commissionRates": RATES, "balances": held}).encode()
    balances, following = DIALECT.parse_balances(account)
    assert (balances[0], following) == (Balance("BTC", Decimal("1.5"), Decimal("0.5")), None)
