"""Coinbase's account language on recorded and hand-written bodies; its tokens checked by their public key."""

from __future__ import annotations

import base64
import dataclasses
import json
from decimal import Decimal, localcontext

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.errors import BadSetting, ExchangeUnavailable
from livermore_dagster.exchanges.account_contract import (
    Credentials,
    PageCursor,
    UnknownProduct,
    Verdict,
)
from livermore_dagster.exchanges.coinbase import CoinbaseDialect
from livermore_dagster.exchanges.coinbase_account import CoinbaseAccountDialect
from livermore_dagster.exchanges.coinbase_token import coinbase_token
from livermore_dagster.exchanges.rows import COINBASE
from livermore_dagster.market.exchange import Product
from livermore_dagster.market.trades import Balance, Liquidity, Side
from tests.recorded import recorded

DIALECT = CoinbaseAccountDialect(COINBASE)
LOCAL = CoinbaseAccountDialect(dataclasses.replace(COINBASE, rest_url="http://localhost:18443"))
FIRST = PageCursor()
PRODUCTS = {"ALGO-USD": Product("ALGO-USD", "ALGO", "USD", True)}
KEY_NAME = "organizations/o/apiKeys/k"
NOW_MS = 1_767_655_801_396

EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
PEM = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
ED_SEED = ED_KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
ED_PUBLIC = ED_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

FILL = {
    "entry_id": "e1", "trade_id": "t1", "order_id": "o1", "trade_time": "2023-01-28T17:07:27.376Z",
    "trade_type": "FILL", "price": "0.255", "size": "0.9940357852882704", "commission": "0.0059642147117296",
    "product_id": "ALGO-USD", "sequence_timestamp": "2023-01-28T17:07:27.382084Z",
    "liquidity_indicator": "TAKER", "size_in_quote": True, "side": "BUY",
}  # fmt: skip
ORDER = {
    "order_id": "o1", "product_id": "ALGO-USD", "side": "BUY", "status": "CANCELLED",
    "created_time": "2023-01-28T17:07:20.1Z", "last_fill_time": "2023-01-28T17:07:27.376543Z",
    "filled_size": "3.89", "average_filled_price": "0.255", "filled_value": "0.99195", "fee": "",
    "total_fees": "0.0059", "number_of_fills": "2", "settled": True, "order_type": "LIMIT",
}  # fmt: skip


def fills(*rows: dict, cursor: str = "") -> bytes:
    return json.dumps({"fills": rows, "cursor": cursor}).encode()


def orders(*rows: dict, cursor: str = "", has_next: bool = False) -> bytes:
    return json.dumps({"orders": rows, "sequence": "0", "has_next": has_next, "cursor": cursor}).encode()


# --- recorded bodies ------------------------------------------------------------------------------------
def test_recorded_fills_tie_out() -> None:
    path = recorded("coinbase/list_fills_success_response.json")
    page = DIALECT.parse_fills(path.read_bytes(), FIRST, PRODUCTS)
    assert len(page.fills) == 5
    assert page.next == PageCursor(None, "31971874")
    assert [f.value for f in page.fills] == [
        Decimal(v) for v in ("1.2845", "1.2885", "1.2745", "0.9940357852882704", "1.0690")
    ]
    assert sum(f.fee for f in page.fills) == Decimal("0.0354632147117296")
    for fill in page.fills:
        # The tier of that account: 0.6 %, cut at 16 places.
        assert abs(fill.fee - fill.value * Decimal("0.006")) < Decimal("1e-16")
        assert fill.liquidity is Liquidity.TAKER
    bought_for_a_dollar = page.fills[3]
    assert bought_for_a_dollar.value + bought_for_a_dollar.fee == 1, "size_in_quote: its size was dollars"
    assert bought_for_a_dollar.size == Decimal("3.89817955015008")


def test_recorded_orders_are_whole_and_cost_nothing() -> None:
    """Thirty cancelled orders whose `fee` is an empty string."""
    nexts = {
        "_all_call_1": PageCursor(None, "somecursor"),
        "_all_call_2": None,
        "": PageCursor(None, "148401249"),
    }
    for name, following in nexts.items():
        path = recorded(f"coinbase/list_orders{name}_success_response.json")
        page = DIALECT.parse_orders(path.read_bytes(), FIRST, PRODUCTS)
        assert page.next == following
        assert len(page.orders) == 10
        assert {(o.status, o.fill_count, o.filled_value, o.fee, o.average_price) for o in page.orders} == {
            ("CANCELLED", 0, Decimal(0), Decimal(0), None)
        }
        assert all(order.settled for order in page.orders), "none of them is asked for again"


def test_the_recorded_tier_keeps_every_digit() -> None:
    path = recorded("coinbase/get_transactions_summary_success_response.json")
    tier = DIALECT.parse_tier(path.read_bytes(), None)
    assert (tier.maker_rate, tier.taker_rate) == (Decimal("0.004"), Decimal("0.006"))
    assert (str(tier.volume_30d), str(tier.fees_30d)) == ("16.711822509765625", "0.09837093204259872")
    assert (tier.name, tier.currency) == ("USD 0 to 10000", "USD")


def test_recorded_balances() -> None:
    path = recorded("coinbase/list_accounts_success_response.json")
    balances, following = DIALECT.parse_balances(path.read_bytes())
    assert len(balances) == 49
    assert balances[0] == Balance("SAND", Decimal("242.21"), Decimal(0))
    assert following == PageCursor(None, "26559de7-3d80-5139-a7b8-781a3fbe2cd0")


# --- rows -----------------------------------------------------------------------------------------------
def test_a_cancelled_order_with_fills_has_its_costs() -> None:
    (order,) = DIALECT.parse_orders(orders(ORDER), FIRST, PRODUCTS).orders
    assert (order.status, order.fill_count, order.fee, order.fee_currency) == (
        "CANCELLED", 2, Decimal("0.0059"), "USD",
    )  # fmt: skip
    assert (order.created_ms, order.updated_ms) == (1674925640100, 1674925647376)
    assert order.side is Side.BUY


@pytest.mark.parametrize(
    ("status", "settled"),
    [("CANCELLED", True), ("EXPIRED", True), ("FAILED", True), ("OPEN", False), ("FILLED", False)],
)
def test_what_ended_without_a_fill_is_settled_whatever_the_exchange_says(status: str, settled: bool) -> None:
    row = {**ORDER, "status": status, "settled": False, "filled_size": "0", "number_of_fills": "0"}
    assert DIALECT.parse_orders(orders(row), FIRST, PRODUCTS).orders[0].settled is settled


@given(
    price=st.decimals(min_value="1e-12", max_value="1e9", allow_nan=False, places=12),
    size=st.decimals(min_value="1e-16", max_value="1e12", allow_nan=False, places=18),
    fee=st.decimals(min_value="-1e9", max_value="1e9", allow_nan=False, places=18),
)
def test_amounts_are_exact_to_the_last_digit(price: Decimal, size: Decimal, fee: Decimal) -> None:
    told = {**FILL, "price": f"{price:f}", "size": f"{size:f}", "commission": f"{fee:f}"}
    based, quoted = ({**told, "size_in_quote": quote} for quote in (False, True))
    (base_fill,) = DIALECT.parse_fills(fills(based), FIRST, PRODUCTS).fills
    (quote_fill,) = DIALECT.parse_fills(fills(quoted), FIRST, PRODUCTS).fills
    assert (base_fill.price, base_fill.size, base_fill.fee) == (price, size, fee)
    with localcontext(prec=100):
        assert base_fill.value == price * size
        assert abs(quote_fill.size * price - size) <= size * Decimal("1e-27")
    assert quote_fill.value == size, "its size is quote"


@given(st.decimals(min_value=0, max_value="1e15", allow_nan=False, places=20))
def test_json_numbers_never_become_floats(volume: Decimal) -> None:
    summary = (
        f'{{"total_volume": {volume:f}, "total_fees": {volume:f}, "fee_tier": {{"pricing_tier": "Advanced 1",'
        '"taker_fee_rate": "0.006", "maker_fee_rate": "0.004"}}'
    )
    tier = DIALECT.parse_tier(summary.encode(), None)
    assert (tier.volume_30d, tier.fees_30d, tier.name) == (volume, volume, "Advanced 1")


@pytest.mark.parametrize("field", sorted(set(FILL) - {"trade_id", "sequence_timestamp"}))
def test_a_fill_without_a_field_is_refused_by_its_name(field: str) -> None:
    lacking = {name: value for name, value in FILL.items() if name != field}
    with pytest.raises(ExchangeUnavailable, match=field):
        DIALECT.parse_fills(fills(FILL, lacking), FIRST, PRODUCTS)


@pytest.mark.parametrize("field", sorted(set(ORDER) - {"fee", "last_fill_time", "order_type"}))
def test_an_order_without_a_field_is_refused_by_its_name(field: str) -> None:
    lacking = {name: value for name, value in ORDER.items() if name != field}
    with pytest.raises(ExchangeUnavailable, match=field):
        DIALECT.parse_orders(orders(ORDER, lacking), FIRST, PRODUCTS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": ""}, {"price": "NaN"}, {"size": "1_000"}, {"commission": "٣"}, {"price": "0", "size": "1"},
        {"side": "HOLD"}, {"trade_time": "yesterday"}, {"size": 1.5},
    ],
)  # fmt: skip
def test_what_is_no_fill_is_never_guessed(wrong: dict) -> None:
    with pytest.raises(ExchangeUnavailable):
        DIALECT.parse_fills(fills({**FILL, **wrong}), FIRST, PRODUCTS)


def test_what_is_no_plain_fill_is_set_aside_as_told_and_the_page_stands() -> None:
    odd = {**FILL, "entry_id": "e9", "trade_type": "REVERSAL", "side": "UNKNOWN", "product_id": "GONE-USD"}
    page = DIALECT.parse_fills(fills(FILL, odd, odd, cursor="more"), FIRST, PRODUCTS)
    assert [one.fill_id for one in page.fills] == ["e1"]
    (aside,) = page.aside
    assert (aside.entry_id, aside.trade_type, aside.symbol) == ("e9", "REVERSAL", "GONE-USD")
    assert (aside.side, aside.price, aside.size) == ("UNKNOWN", FILL["price"], FILL["size"])
    assert aside.commission == FILL["commission"]
    assert page.next is not None


def test_what_is_not_of_a_spot_product_is_in_no_sum() -> None:
    """The product itself says what it is: the list of fills does not."""
    told = {"product_id": "BIT-28MAR25-CDE", "base_currency_id": "", "quote_currency_id": "USD"}
    body = json.dumps({**told, "product_type": "FUTURE"}).encode()
    future = CoinbaseDialect(COINBASE).parse_product(body)
    known = {**PRODUCTS, future.symbol: future}
    rows = [FILL, {**FILL, "entry_id": "e2", "product_id": future.symbol}]
    page = DIALECT.parse_fills(fills(*rows), FIRST, known)
    assert [one.fill_id for one in page.fills] == ["e1"]
    assert [(one.entry_id, one.trade_type) for one in page.aside] == [("e2", "FUTURE FILL")]
    listed = [ORDER, {**ORDER, "order_id": "o2", "product_id": future.symbol, "product_type": "FUTURE"}]
    assert [one.order_id for one in DIALECT.parse_orders(orders(*listed), FIRST, PRODUCTS).orders] == ["o1"]


def test_base_and_quote_come_from_the_product_list_alone() -> None:
    with pytest.raises(UnknownProduct) as unknown:
        DIALECT.parse_fills(fills(FILL), FIRST, {})
    assert unknown.value.symbol == "ALGO-USD"


# --- paging ---------------------------------------------------------------------------------------------
def test_the_end_of_fills_is_an_empty_cursor_and_a_repeated_entry_counts_once() -> None:
    page = DIALECT.parse_fills(fills(FILL, {**FILL, "entry_id": "e2"}, FILL), FIRST, PRODUCTS)
    assert ([f.fill_id for f in page.fills], page.next) == (["e1", "e2"], None)


def test_no_fills_at_all_is_an_end_too() -> None:
    assert DIALECT.parse_fills(fills(), FIRST, PRODUCTS).next is None


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (orders(ORDER, cursor="c1", has_next=True), "the one that was asked with"),
        (orders(cursor="c2", has_next=True), "no rows"),
        (orders(ORDER, cursor="", has_next=True), "without a cursor"),
        (b"<html>502</html>", "Not a historical orders reply"),
    ],
)
def test_a_page_that_leads_nowhere_is_refused(reply: bytes, why: str) -> None:
    with pytest.raises(ExchangeUnavailable, match=why):
        DIALECT.parse_orders(reply, PageCursor(None, "c1"), PRODUCTS)


def test_requests_carry_market_limit_cursor_and_start() -> None:
    cursor = PageCursor("ALGO-USD", "c1", 1_674_925_640_100)
    assert DIALECT.orders_request(cursor).params == {
        "limit": "100", "product_ids": "ALGO-USD", "start_date": "2023-01-28T17:07:20.100Z", "cursor": "c1",
    }  # fmt: skip
    assert DIALECT.fills_request(cursor).params["start_sequence_timestamp"] == "2023-01-28T17:07:20.100Z"
    assert DIALECT.orders_request(FIRST).params == {"limit": "100"}


# --- tokens ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("secret", "public", "algorithm"),
    [
        (PEM, EC_KEY.public_key(), "ES256"),
        (PEM.replace("\n", "\\n"), EC_KEY.public_key(), "ES256"),
        (base64.b64encode(ED_SEED).decode(), ED_KEY.public_key(), "EdDSA"),
        (base64.b64encode(ED_SEED + ED_PUBLIC).decode(), ED_KEY.public_key(), "EdDSA"),
    ],
    ids=["pem", "pem of one line", "ed25519 seed", "ed25519 seed and public"],
)
def test_a_token_is_what_the_exchange_verifies(secret: str, public: object, algorithm: str) -> None:
    credentials = Credentials(KEY_NAME, secret)
    request = LOCAL.orders_request(PageCursor(None, "c1"))
    signed = LOCAL.sign(request, credentials, NOW_MS)
    token = signed.headers["authorization"].removeprefix("Bearer ")
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["kid"], header["typ"]) == (algorithm, KEY_NAME, "JWT")
    assert len(header["nonce"]) == 32
    claims = jwt.decode(
        token, public, algorithms=[algorithm], options={"verify_exp": False, "verify_nbf": False}
    )
    assert claims == {
        "sub": KEY_NAME, "iss": "cdp", "nbf": NOW_MS // 1000 - 1, "exp": NOW_MS // 1000 + 119,
        "uri": "GET localhost:18443/api/v3/brokerage/orders/historical/batch",
    }  # fmt: skip
    assert signed.query == "limit=100&cursor=c1"


def test_every_token_is_another_and_one_for_a_socket_has_no_uri() -> None:
    credentials = Credentials(KEY_NAME, PEM)
    one, two = (coinbase_token(credentials, NOW_MS) for _ in range(2))
    assert one != two
    assert "uri" not in jwt.decode(one, options={"verify_signature": False})


RSA_PEM = (
    rsa.generate_private_key(65537, 2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
P384_PEM = (
    ec.generate_private_key(ec.SECP384R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


@pytest.mark.parametrize(
    "secret",
    [
        "hunter2-is-no-key",
        PEM[:120],
        RSA_PEM,
        P384_PEM,
        base64.b64encode(b"0" * 31).decode(),
        "BEGIN nothing",
    ],
    ids=["text", "cut pem", "rsa", "p384", "31 bytes", "begin"],
)
def test_what_is_no_key_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(BadSetting, match="not a Coinbase key") as refused:
        DIALECT.check_credentials(Credentials(KEY_NAME, secret))
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
    assert secret not in str(refused.value)


def test_verdicts() -> None:
    assert DIALECT.verdict(401, "") is Verdict.CREDENTIALS
    assert DIALECT.verdict(403, "PERMISSION_DENIED") is Verdict.CREDENTIALS
    assert DIALECT.verdict(403, "") is Verdict.OTHER
    assert DIALECT.verdict(400, "INVALID_ARGUMENT") is Verdict.OTHER
