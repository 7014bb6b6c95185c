"""Accounts of the simulated exchanges, read signed: the whole truth, under faults, beside other reads."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import pytest
import redis.asyncio

from livermore_dagster.errors import CredentialsRefused
from livermore_dagster.exchanges.account_client import AccountClient
from livermore_dagster.exchanges.account_contract import AccountPage, Credentials, PageCursor
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.exchanges.factory import account_client_for, client_for, user_stream_for
from livermore_dagster.exchanges.gate import Gate
from livermore_dagster.exchanges.user_stream import UserEventKind, UserStream
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.market.trades import Fill, Order
from livermore_dagster.simulator.server import Simulator
from tests.integration.exchanges.account_exchange import every_page
from tests.integration.exchanges.conftest import START, Field

NAMES = ["binance", "binance_us", "coinbase"]


@dataclass
class Account:
    """One simulated account and its reader."""

    field: Field
    row: ExchangeRow
    credentials: Credentials
    client: AccountClient
    products: dict[str, Product]

    @property
    def whole_account(self) -> bool:
        return not self.client.by_market

    async def truth(self) -> dict[str, Any]:
        return await self.field.control(self.row.name, "account-truth", account="mine")

    async def markets(self) -> list[str | None]:
        if not self.client.by_market:
            return [None]
        return sorted({order["symbol"] for order in (await self.truth())["orders"]})

    async def orders(self) -> list[Order]:
        read: list[Order] = []
        for market in await self.markets():
            for page in await every_page(self.client.orders, PageCursor(market), self.products):
                read += page.orders
        return read

    async def fills(self) -> list[Fill]:
        read: list[Fill] = []
        for market in await self.markets():
            for page in await every_page(self.client.fills, PageCursor(market), self.products):
                read += page.fills
        return read


async def account(field: Field, name: str, **made: object) -> Account:
    row = field.row(name)
    async with httpx.AsyncClient(timeout=60) as http:
        body = {"account": "mine", "orders": 450, "symbols": 6, "days": 90, **made}
        reply = await http.post(f"{field.simulator.control_url(name)}/accounts", json=body)
    told = reply.raise_for_status().json()
    credentials = Credentials(told["key"], told["secret"])
    truth = await field.control(name, "account-truth", account="mine", part="orders")
    products = {o["symbol"]: Product(o["symbol"], o["base"], o["quote"], True) for o in truth["orders"]}
    client = account_client_for(row, credentials, field.redis, field.clock)
    return Account(field, row, credentials, client, products)


def as_truth(fill: Fill) -> tuple[Any, ...]:
    return (
        fill.fill_id, fill.order_id, fill.symbol, fill.base, fill.quote, fill.side.value, fill.filled_ms,
        fill.price, fill.size, fill.value, fill.fee, fill.fee_currency, fill.liquidity.value,
    )  # fmt: skip


def true_fill(told: dict[str, Any]) -> tuple[Any, ...]:
    amounts = (Decimal(told[name]) for name in ("price", "size", "value", "fee"))
    names = ("fill_id", "order_id", "symbol", "base", "quote", "side", "at_ms")
    return (*(told[name] for name in names), *amounts, told["fee_currency"], told["liquidity"])


@pytest.mark.parametrize(
    ("name", "key_type"),
    [("binance", "es256"), ("binance_us", "es256"), ("coinbase", "es256"), ("coinbase", "ed25519")],
)
async def test_everything_an_account_did_is_read_to_the_last_digit(
    alone: Field, name: str, key_type: str
) -> None:
    mine = await account(alone, name, key_type=key_type)
    await mine.client.check()
    truth = await mine.truth()
    fills = await mine.fills()
    assert sorted(map(as_truth, fills)) == sorted(map(true_fill, truth["fills"]))
    orders = {(order.symbol, order.order_id): order for order in await mine.orders()}
    assert len(orders) == len(truth["orders"]) == 450
    for told in truth["orders"]:
        order = orders[told["symbol"], told["order_id"]]
        assert (order.base, order.quote, order.side.value) == (told["base"], told["quote"], told["side"])
        assert (order.filled_size, order.filled_value) == (
            Decimal(told["filled_size"]), Decimal(told["filled_value"]),
        )  # fmt: skip
        assert order.fee == (None if told["fee"] is None else Decimal(told["fee"]))
        assert (order.created_ms, order.fill_count) == (
            told["created_ms"], told["fills"] if name == "coinbase" else None,
        )  # fmt: skip
    held = [b for b in truth["balances"] if Decimal(b["available"]) or Decimal(b["hold"])]
    assert [(b.currency, b.available, b.hold) for b in await mine.client.balances()] == sorted(
        (b["currency"], Decimal(b["available"]), Decimal(b["hold"])) for b in held
    )
    tier = await mine.client.fee_tier()
    assert (tier.maker_rate, tier.taker_rate) == (
        Decimal(truth["tier"]["maker_rate"]), Decimal(truth["tier"]["taker_rate"]),
    )  # fmt: skip
    await mine.client.close()


@pytest.mark.parametrize("name", ["binance", "coinbase"])
async def test_troubled_pages_lose_nothing_and_double_nothing(alone: Field, name: str) -> None:
    """One after the other while one history is read: each page is asked again until it is whole."""
    mine = await account(alone, name, orders=4000 if name == "binance" else 600, symbols=1)
    truth = await mine.truth()
    kinds = [
        "fail_page",
        "repeat_page",
        "broken_body",
        "error_page",
        *(["repeat_cursor"] * mine.whole_account),
    ]

    async def troubled(cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        page = await mine.client.fills(cursor, products)
        if kinds:
            await alone.order(name, kind=kinds.pop(), count=1)
        return page

    (market,) = await mine.markets()
    pages = await every_page(troubled, PageCursor(market), mine.products)
    fills = [fill for page in pages for fill in page.fills]
    assert not kinds
    assert sorted(map(as_truth, fills)) == sorted(map(true_fill, truth["fills"]))
    counters = await alone.control(name, "counters")
    assert counters["http_429"] == counters["http_418"] == 0
    await mine.client.close()


@pytest.mark.parametrize("name", NAMES)
async def test_a_revoked_key_is_told_as_such(alone: Field, name: str) -> None:
    mine = await account(alone, name)
    await alone.order(name, kind="revoke_key", duration_s=60)
    with pytest.raises(CredentialsRefused, match=name):
        await mine.client.check()
    await mine.client.close()


@pytest.mark.parametrize(("name", "skew_ms"), [("binance", 40_000), ("coinbase", -40_000)])
async def test_a_skewed_exchange_is_read_by_its_own_clock(
    connected: redis.asyncio.Redis, name: str, skew_ms: int
) -> None:
    async with Simulator([name], seed=7, symbols=20) as simulator, httpx.AsyncClient(timeout=60) as http:
        field = Field(simulator, connected, http)
        mine = await account(field, name, orders=20, symbols=2)
        await field.order(name, kind="skew", skew_ms=skew_ms, duration_s=60)
        await mine.client.check()
        assert abs(mine.client.time.offset_ms - skew_ms) < 2_000
        await mine.client.close()


@pytest.mark.parametrize("name", ["binance", "coinbase"])
async def test_candles_and_accounts_together_never_exceed_the_limit(alone: Field, name: str) -> None:
    """Binance counts both by address; the simulated limit is lowered so that they do compete."""
    if name == "binance":
        await alone.order(name, "settings", weight_limit=1200)
    else:
        await alone.order(name, "settings", rate=10, burst=10)
    mine = await account(alone, name, orders=600, symbols=3)
    public = client_for(mine.row, alone.redis, alone.clock)
    await public.products()

    async def candles() -> None:
        symbol = "BTCUSDT" if name == "binance" else "BTC-USD"
        for _ in range(12):
            await public.candles(symbol, Timeframe.M5, START - 3_600_000, START, Priority.WARMUP)

    fills, _, _ = await asyncio.gather(mine.fills(), candles(), candles())
    assert len(fills) == len((await mine.truth())["fills"])
    counters = await alone.control(name, "counters")
    assert counters["http_429"] == counters["http_418"] == 0
    await public.close()
    await mine.client.close()


# --- the user channel -----------------------------------------------------------------------------------
def unlimited(channel: str, status: int, reason: str) -> None:
    raise AssertionError(f"{channel} was refused with {status}: {reason}")


async def until(stream: UserStream, kind: UserEventKind) -> Any:
    async with asyncio.timeout(60):
        async for event in stream:
            if event.kind is kind:
                return event
    raise AssertionError(f"the stream ended before {kind}: {stream.last_reason}")


@pytest.mark.parametrize("name", NAMES)
async def test_a_live_fill_is_told_at_once_and_after_a_break(alone: Field, name: str) -> None:
    mine = await account(alone, name, orders=20, symbols=2)
    symbol = (await mine.truth())["orders"][0]["symbol"]
    async with user_stream_for(
        mine.row, mine.credentials, alone.redis, alone.clock, Gate(alone.clock), unlimited
    ) as stream:
        await until(stream, UserEventKind.RESUMED)
        for _ in range(2):
            reply = await alone.order(name, "fill", account="mine", symbol=symbol, side="BUY")
            told = await until(stream, UserEventKind.FILL)
            assert (told.symbol, told.order_id) == (symbol, reply["order"]["order_id"])
            assert told.fill_id == (None if name == "coinbase" else reply["fill"]["fill_id"])
            if stream.reconnects == 0:
                await alone.order(name, kind="drop")
                await until(stream, UserEventKind.RESUMED)
        assert stream.reconnects == 1
    await mine.client.close()


@pytest.mark.parametrize("name", NAMES)
async def test_a_stream_with_a_wrong_key_ends_with_the_reason(alone: Field, name: str) -> None:
    mine = await account(alone, name, orders=20, symbols=2)
    wrong = dataclasses.replace(mine.credentials, key=mine.credentials.key[:-4] + "0000")
    async with user_stream_for(
        mine.row, wrong, alone.redis, alone.clock, Gate(alone.clock), unlimited
    ) as stream:
        with pytest.raises(CredentialsRefused):
            await until(stream, UserEventKind.RESUMED)
    await mine.client.close()
