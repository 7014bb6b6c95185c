"""What account reads survive: failed pages, wrong clocks, refused keys, lists without an end."""

from __future__ import annotations

import json
import traceback
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
import redis.asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from livermore_dagster.clock import SystemClock
from livermore_dagster.errors import (
    BadSetting,
    ClockSkewed,
    CredentialsRefused,
    ExchangeUnavailable,
    InactiveExchange,
    LivermoreError,
    RateLimited,
    UnknownSymbol,
)
from livermore_dagster.exchanges import caller
from livermore_dagster.exchanges.account_contract import Credentials, PageCursor
from livermore_dagster.exchanges.factory import account_client_for, row_named
from livermore_dagster.market.exchange import Product
from livermore_dagster.market.trades import Balance
from tests.integration.exchanges.account_exchange import every_page, exchange, reply
from tests.unit.exchanges.test_binance_account import RATES, TRADE
from tests.unit.exchanges.test_coinbase_account import FILL, ORDER

PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    .decode()
)
COINBASE = Credentials("organizations/o/apiKeys/k-name-of-the-key", PEM)
BINANCE = Credentials("binance-key-that-no-text-may-show", "binance-secret-that-no-text-may-show")
PRODUCTS = {"ALGO-USD": Product("ALGO-USD", "ALGO", "USD", True)}
MARKET = {"BNBBTC": Product("BNBBTC", "BNB", "BTC", True)}
ACCOUNT = {"commissionRates": RATES, "balances": []}
SKEWED = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
CLOCK = SystemClock()


@pytest.fixture(autouse=True)
def fewer_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "ATTEMPTS", 2)


def orders(name: str, cursor: str) -> dict[str, Any]:
    return {"orders": [{**ORDER, "order_id": name}], "has_next": bool(cursor), "cursor": cursor}


async def test_a_failed_page_is_asked_again_by_itself(connected: redis.asyncio.Redis) -> None:
    """The middle one of three fails, then comes cut short, then lacks a field; the others are asked once."""
    pages = {"": orders("o1", "c1"), "c1": orders("o2", "c2"), "c2": orders("o3", "")}
    asked: list[str] = []
    troubles = [
        reply({"error": "internal"}, 500),
        web.Response(text=json.dumps(pages["c1"])[:-30]),
        reply({**pages["c1"], "orders": [{"order_id": "o2"}]}),
    ]

    async def answer(request: web.Request) -> web.Response:
        cursor = request.query.get("cursor", "")
        asked.append(cursor)
        return troubles.pop(0) if cursor == "c1" and troubles else reply(pages[cursor])

    async with exchange("coinbase", answer) as played:
        client = account_client_for(played.row, COINBASE, connected, CLOCK)
        caller.ATTEMPTS = 4
        read = await every_page(client.orders, PageCursor(), PRODUCTS)
        await client.close()
    assert [o.order_id for page in read for o in page.orders] == ["o1", "o2", "o3"]
    assert asked == ["", "c1", "c1", "c1", "c1", "c2"]
    tokens = [request.headers["authorization"] for request in played.requests]
    assert len(set(tokens)) == len(tokens), "a token per request"


async def test_a_page_that_stays_bad_is_told_by_its_field(connected: redis.asyncio.Redis) -> None:
    broken = {"fills": [{name: value for name, value in FILL.items() if name != "commission"}], "cursor": ""}

    async def answer(_: web.Request) -> web.Response:
        return reply(broken)

    async with exchange("coinbase", answer) as played:
        client = account_client_for(played.row, COINBASE, connected, CLOCK)
        with pytest.raises(ExchangeUnavailable, match="commission"):
            await client.fills(PageCursor(), PRODUCTS)
        await client.close()
    assert len(played.requests) == 2


async def test_a_page_that_names_itself_as_the_next_ends_in_an_error(
    connected: redis.asyncio.Redis,
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return reply(orders("o", "c1"))

    async with exchange("coinbase", answer) as played:
        client = account_client_for(played.row, COINBASE, connected, CLOCK)
        with pytest.raises(ExchangeUnavailable, match="the one that was asked with"):
            await every_page(client.orders, PageCursor(), PRODUCTS)
        await client.close()
    assert len(played.requests) == 3


async def test_balances_in_a_circle_end_in_an_error(connected: redis.asyncio.Redis) -> None:
    following = {"": "c1", "c1": "c2", "c2": "c1"}
    money = {"value": "1", "currency": "BTC"}
    wallet = {"uuid": "u", "currency": "BTC", "available_balance": money, "hold": money}

    async def answer(request: web.Request) -> web.Response:
        cursor = following[request.query.get("cursor", "")]
        return reply({"accounts": [wallet], "has_next": True, "cursor": cursor})

    async with exchange("coinbase", answer) as played:
        client = account_client_for(played.row, COINBASE, connected, CLOCK)
        with pytest.raises(ExchangeUnavailable, match="go in a circle"):
            await client.balances()
        await client.close()
    assert len(played.requests) == 3


async def test_a_product_traded_no_more_is_looked_up_once(connected: redis.asyncio.Redis) -> None:
    gone = {
        "product_id": "GONE-USD", "base_currency_id": "GONE", "quote_currency_id": "USD", "status": "gone",
    }  # fmt: skip
    rows = [{**FILL, "product_id": "GONE-USD", "entry_id": name} for name in ("e1", "e2")]

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/market/products/GONE-USD"):
            assert "authorization" not in request.headers
            return reply(gone)
        if request.path.endswith("/fills"):
            return reply({"fills": rows, "cursor": ""})
        return reply({"error": "NOT_FOUND"}, 404)

    async with exchange("coinbase", answer) as played:
        client = account_client_for(played.row, COINBASE, connected, CLOCK)
        for _ in range(2):
            page = await client.fills(PageCursor(), PRODUCTS)
            assert [(f.base, f.quote) for f in page.fills] == [("GONE", "USD")] * 2
        assert [path for path in played.paths if "products" in path] == [
            "/api/v3/brokerage/market/products/GONE-USD"
        ]
        rows[0]["product_id"] = "NEVER-USD"
        with pytest.raises(UnknownSymbol, match="NEVER-USD"):
            await client.fills(PageCursor(), PRODUCTS)
        await client.close()


async def test_a_wrong_clock_is_set_by_the_exchange_s_and_stays_so(connected: redis.asyncio.Redis) -> None:
    ahead_ms = -7_000

    async def answer(request: web.Request) -> web.Response:
        now = CLOCK.now_ms() + ahead_ms
        if request.path == "/api/v3/time":
            return reply({"serverTime": now})
        signed = int(request.query["timestamp"])
        if signed >= now + 1000 or now - signed > int(request.query["recvWindow"]):
            return reply(SKEWED, 400)
        return reply(ACCOUNT)

    async with exchange("binance", answer) as played:
        client = account_client_for(played.row, BINANCE, connected, CLOCK)
        for _ in range(3):
            await client.check()
        assert abs(client.time.offset_ms - ahead_ms) < 3_000
        assert [path.rpartition("/")[2] for path in played.paths] == [
            "account",
            "time",
            "account",
            "account",
            "account",
        ]
        ahead_ms = 60_000
        await client.check()
        assert abs(client.time.offset_ms - ahead_ms) < 3_000
        await client.close()


async def test_a_time_that_no_clock_mends_is_told(connected: redis.asyncio.Redis) -> None:
    async def answer(request: web.Request) -> web.Response:
        now = {"serverTime": CLOCK.now_ms() + 3_000}
        return reply(now) if request.path == "/api/v3/time" else reply(SKEWED, 400)

    async with exchange("binance", answer) as played:
        client = account_client_for(played.row, BINANCE, connected, CLOCK)
        with pytest.raises(ClockSkewed, match=r"\+(2|3)\d{3} ms"):
            await client.check()
        assert client.time.offset_ms == 0, "what did not help is not kept"
        assert len(played.requests) == 3
        await client.close()


@pytest.mark.parametrize(("ahead_ms", "requests"), [(0, 2), (40_000, 3)])
async def test_coinbase_s_401_is_the_key_unless_the_clocks_differ(
    connected: redis.asyncio.Redis, ahead_ms: int, requests: int
) -> None:
    """It says the same of a wrong key and of a token from the future: one look at its clock tells."""

    async def answer(request: web.Request) -> web.Response:
        now = CLOCK.now_ms() + ahead_ms
        if request.path.endswith("/time"):
            return reply({"iso": "", "epochSeconds": str(now // 1000), "epochMillis": str(now)})
        return web.Response(text="Unauthorized\n", status=401)

    async with exchange("coinbase", answer) as played:
        client = account_client_for(played.row, COINBASE, connected, CLOCK)
        with pytest.raises(CredentialsRefused, match="HTTP 401"):
            await client.check()
        await client.close()
    assert len(played.requests) == requests


async def test_coinbase_s_401_for_the_time_is_survived(connected: redis.asyncio.Redis) -> None:
    async def answer(request: web.Request) -> web.Response:
        now = CLOCK.now_ms() + 40_000
        if request.path.endswith("/time"):
            return reply({"epochMillis": str(now)})
        claims = jwt.decode(request.headers["authorization"][7:], options={"verify_signature": False})
        if not claims["nbf"] - 5 <= now // 1000 <= claims["nbf"] + 20:
            return web.Response(text="Unauthorized\n", status=401)
        assert claims["uri"] == f"GET {request.host}{request.path}"
        return reply({"accounts": [], "has_next": False, "cursor": ""})

    async with exchange("coinbase", answer) as played:
        client = account_client_for(played.row, COINBASE, connected, CLOCK)
        await client.check()
        await client.close()
    assert len(played.requests) == 3


@pytest.mark.parametrize("name", ["coinbase", "binance"])
async def test_no_error_and_no_frame_of_it_shows_a_secret(connected: redis.asyncio.Redis, name: str) -> None:
    """Every failure with its causes and the locals of all its frames; the exchange echoes the key."""
    credentials = COINBASE if name == "coinbase" else BINANCE
    status = 401

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/time"):
            return reply({"serverTime": CLOCK.now_ms(), "epochMillis": str(CLOCK.now_ms())})
        if status == 0:
            request.transport.close()
        text = f"key {credentials.key} with {credentials.secret} is wrong"
        return reply({"code": -2015, "msg": text, "message": text}, status)

    seen = ""
    async with exchange(name, answer) as played:
        client = account_client_for(played.row, credentials, connected, CLOCK)
        for troubled in (401, 403, 400, 500, 0):
            status = troubled
            try:
                await client.check()
            except LivermoreError as error:
                told = traceback.TracebackException.from_exception(error, capture_locals=True)
                seen += "".join(told.format()) + str(error) + repr(error)
        await client.close()
    assert seen.count("Traceback") >= 5
    secret_lines = [line for line in PEM.splitlines() if "KEY" not in line]
    for secret in (BINANCE.key, BINANCE.secret, COINBASE.key, *secret_lines):
        assert secret not in seen, [line for line in seen.splitlines() if secret in line][:3]


async def test_balances_of_all_pages_by_currency(connected: redis.asyncio.Redis) -> None:
    def wallet(currency: str, available: str, hold: str = "0") -> dict[str, Any]:
        money = [{"value": value, "currency": currency} for value in (available, hold)]
        return {"uuid": "u", "currency": currency, "available_balance": money[0], "hold": money[1]}

    pages = {
        "": {"accounts": [wallet("BTC", "1.10"), wallet("DOGE", "0")], "has_next": True, "cursor": "c1"},
        "c1": {"accounts": [wallet("BTC", "0.000000000000000001", "2")], "has_next": False, "cursor": ""},
    }

    async def answer(request: web.Request) -> web.Response:
        return reply(pages[request.query.get("cursor", "")])

    async with exchange("coinbase", answer) as played:
        client = account_client_for(played.row, COINBASE, connected, CLOCK)
        assert await client.balances() == [Balance("BTC", Decimal("1.100000000000000001"), Decimal(2))]
        await client.close()


async def test_binance_reads_on_from_the_next_id(connected: redis.asyncio.Redis) -> None:
    ids = list(range(5, 2300, 2))

    async def answer(request: web.Request) -> web.Response:
        query = parse_qs(request.query_string)
        served = [n for n in ids if n >= int(query["fromId"][0])][: int(query["limit"][0])]
        return reply([{**TRADE, "id": number} for number in served])

    async with exchange("binance_us", answer) as played:
        client = account_client_for(played.row, BINANCE, connected, CLOCK)
        read = await every_page(client.fills, PageCursor("BNBBTC"), MARKET)
        assert [int(f.fill_id) for page in read for f in page.fills] == ids
        assert read[0].next == PageCursor("BNBBTC", "2004")
        resumed = await every_page(client.fills, read[0].next, MARKET)
        assert [int(f.fill_id) for page in resumed for f in page.fills] == ids[1000:]
        await client.close()


async def test_a_429_is_never_retried_and_closes_the_budget_of_the_public_reads_too(
    connected: redis.asyncio.Redis,
) -> None:
    """Binance counts by address, whoever asks."""

    async def answer(_: web.Request) -> web.Response:
        return reply({"code": -1003, "msg": "Too many requests"}, 429, **{"Retry-After": "90"})

    async with exchange("binance", answer) as played:
        client = account_client_for(played.row, BINANCE, connected, CLOCK)
        for _ in range(2):
            with pytest.raises(RateLimited):
                await client.check()
        with pytest.raises(RateLimited):
            await client.time.measure()
        await client.close()
    assert len(played.requests) == 1


def test_an_exchange_without_an_adapter_says_so() -> None:
    for name in ("kraken", "kucoin", "mexc"):
        with pytest.raises(InactiveExchange, match=f"{name}.*no adapter"):
            account_client_for(row_named(name), BINANCE, redis.asyncio.Redis(), CLOCK)
    with pytest.raises(BadSetting, match="not a Coinbase key"):
        account_client_for(row_named("coinbase"), BINANCE, redis.asyncio.Redis(), CLOCK)
