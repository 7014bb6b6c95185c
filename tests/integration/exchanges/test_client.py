"""REST through ExchangeClient: the simulator's truth, its limits, its faults."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest
from msgspec.structs import astuple

from livermore_dagster.clock import SystemClock
from livermore_dagster.errors import (
    ExchangeUnavailable,
    RateLimited,
    RequestRefused,
    UnsupportedTimeframe,
)
from livermore_dagster.exchanges.client import ExchangeClient
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.exchanges.factory import client_for
from livermore_dagster.exchanges.universe import rank_universe, resolve_symbols
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import metrics
from livermore_dagster.stores.redis.desired import SymbolChoice
from tests.integration.exchanges.conftest import START, Field
from tests.integration.simulator.played import stop_limits
from tests.no_budget import NoBudget

NAMES = ["binance", "binance_us", "coinbase"]


async def read_all(client: ExchangeClient, symbol: str, timeframe: Timeframe, start: int, end: int) -> list:
    pages = [
        page.rows async for page in client.candle_pages(symbol, timeframe, start, end, Priority.WARMUP)
    ]  # fmt: skip
    assert all(len(page) <= client.dialect.quirks.rest_rows for page in pages)
    return [row.candle for page in pages for row in page]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("timeframe", [Timeframe.M5, Timeframe.H4])
async def test_paged_candles_equal_the_truth(still: Field, name: str, timeframe: Timeframe) -> None:
    client = still.client(name)
    products = await client.products()
    ranked = rank_universe(products, client.row, 20)
    end = START - START % timeframe.ms
    start = end - 1234 * timeframe.ms
    for product in (ranked[0], ranked[-1]):
        candles = await read_all(client, product.symbol, timeframe, start, end)
        truth = await still.control(
            name, "truth", symbol=product.symbol, timeframe=timeframe.value, start=start, end=end
        )
        assert [astuple(c) for c in candles] == [
            tuple(row[key] for key in ("open_ms", "open", "high", "low", "close", "volume"))
            for row in truth["candles"]
        ]
    counted = await metrics.read_counters(still.redis, client.row.id)
    seen = await still.control(name, "counters")
    assert counted["rest_requests:candles"] == seen["requests_by_endpoint"]["candles"]
    assert (seen["http_429"], seen["http_418"]) == (0, 0)
    await client.close()


@pytest.mark.parametrize("name", NAMES)
async def test_time_products_and_ranking(still: Field, name: str) -> None:
    client = still.client(name)
    assert abs(await client.server_time() - START) < 60_000
    products = await client.products()
    assert len(products) >= 20
    ranked = rank_universe(products, client.row, 10)
    assert len(ranked) == 10
    assert len({product.base for product in ranked}) == 10
    assert resolve_symbols(SymbolChoice(top=10), products, client.row) == [p.symbol for p in ranked]
    if name == "binance":
        state = await client.budget.state()  # type: ignore[attr-defined]
        assert (state.capacity, state.window_ms) == (5400, 60_000), "the stated limit less a tenth"
    await client.close()


async def test_an_alias_reads_the_same_book(still: Field) -> None:
    client = still.client("coinbase")
    aliases = [p for p in await client.products() if p.alias_of is not None]
    assert aliases
    alias = aliases[0]
    resolved = resolve_symbols(SymbolChoice(listed=(alias.symbol,)), await client.products(), client.row)
    assert resolved == [alias.alias_of]
    await client.close()


async def test_a_span_is_one_page_of_a_timeframe_the_exchange_has(still: Field) -> None:
    client = still.client("coinbase")
    with pytest.raises(ValueError, match="bars of 5m"):
        await client.candles("BTC-USD", Timeframe.M5, 0, 301 * 300_000, Priority.BROWSE)
    poorer = dataclasses.replace(client.row, timeframes=(Timeframe.M5,))
    client.row = poorer
    with pytest.raises(UnsupportedTimeframe, match=r"coinbase has no 4h.*5m"):
        await client.candles("BTC-USD", Timeframe.H4, 0, 14_400_000, Priority.BROWSE)
    await client.close()


async def test_a_refused_granularity_is_told_as_such(still: Field) -> None:
    await still.order("coinbase", "settings", four_hour=False)
    client = still.client("coinbase")
    with pytest.raises(RequestRefused) as refused:
        await client.candles("BTC-USD", Timeframe.H4, START - 14_400_000, START, Priority.WARMUP)
    assert refused.value.status == 400
    assert "granularity argument is invalid" in refused.value.code
    await client.close()


async def test_an_unknown_symbol_is_refused_without_retries(still: Field) -> None:
    client = still.client("binance")
    with pytest.raises(RequestRefused, match="-1121"):
        await client.candles("NOPEUSDT", Timeframe.M5, START - 300_000, START, Priority.BROWSE)
    assert (await still.control("binance", "counters"))["requests_by_endpoint"]["candles"] == 1
    await client.close()


async def test_html_from_the_edge_is_tried_again(still: Field) -> None:
    client = still.client("binance")
    await still.order("binance", kind="error_page", count=2)
    assert abs(await client.server_time() - START) < 60_000
    counted = await metrics.read_counters(still.redis, client.row.id)
    assert counted["rest_requests:time"] == 3
    await client.close()


@pytest.mark.parametrize("name", ["binance", "coinbase"])
async def test_a_page_from_a_cache_is_asked_for_again(still: Field, name: str) -> None:
    """Its newest row was open when it was made, and its end has passed by now."""
    client = still.client(name)
    products = rank_universe(await client.products(), client.row, 1)
    await still.order(name, kind="stale_page", count=1, stale_ms=90_000)
    span = (products[0].symbol, Timeframe.M5, START - 10 * Timeframe.M5.ms, START)
    rows = await client.candles(*span, Priority.REPAIR)
    assert rows == await client.candles(*span, Priority.REPAIR)
    counters = await metrics.read_counters(still.redis, client.row.id)
    assert (counters["rest_stale"], counters["rest_retries"]) == (1, 1)
    await client.close()


async def test_nobody_there_is_unavailability(still: Field) -> None:
    row = dataclasses.replace(still.row("coinbase"), rest_url="http://127.0.0.1:9")
    client = client_for(row, still.redis, still.clock)
    with pytest.raises(ExchangeUnavailable, match=r"127\.0\.0\.1:9"):
        await client.server_time()
    await client.close()


async def test_a_429_closes_the_budget_and_is_an_incident(still: Field) -> None:
    client, other = still.client("binance"), still.client("binance")
    await still.order("binance", kind="rate_limit", count=1)
    began = time.monotonic()
    with pytest.raises(RateLimited) as limited:
        await client.server_time()
    assert limited.value.status == 429
    await other.server_time()
    assert time.monotonic() - began >= 0.8, "another process waits as well"
    counters = await metrics.read_counters(still.redis, client.row.id)
    assert counters["http_429"] == 1
    incidents = await metrics.read_incidents(still.redis)
    assert [(i.name, i.exchange_id, i.severity) for i in incidents] == [("http_429", 2, "error")]
    assert (await still.control("binance", "counters"))["requests"] == 2, "a 429 is not tried again"
    await client.close()
    await other.close()


async def test_a_ban_is_reported_and_asked_no_further(still: Field) -> None:
    client = still.client("binance")
    await still.order("binance", kind="ban", duration_s=300)
    with pytest.raises(RateLimited) as banned:
        await client.server_time()
    assert banned.value.status == 418
    for _ in range(5):
        with pytest.raises(RateLimited):
            await client.server_time()
    counters = await still.control("binance", "counters")
    assert (counters["requests"], counters["http_418"]) == (1, 1)
    await client.close()


async def test_weight_eaten_by_others_is_counted_from_the_header(still: Field) -> None:
    stop_limits(still.simulator)
    client = still.client("binance")
    await client.products()
    await still.order("binance", kind="foreign_weight", count=5300)
    await client.server_time()
    state = await client.budget.state()  # type: ignore[attr-defined]
    assert state.used > 5300
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            client.candle_pages("BTCUSDT", Timeframe.M1, START - 60_000, START, Priority.BROWSE).__anext__(),
            0.5,
        )
    assert (await still.control("binance", "counters"))["http_429"] == 0
    await client.close()


async def burst(client: ExchangeClient, requests: int) -> list[BaseException]:
    asked = (client.server_time(Priority.WARMUP) for _ in range(requests))
    replies = await asyncio.gather(*asked, return_exceptions=True)
    return [reply for reply in replies if isinstance(reply, BaseException)]


async def test_under_the_budget_no_request_is_ever_refused(still: Field) -> None:
    """Two clients, as two processes, against 10 a second with no burst beyond."""
    await still.order("coinbase", "settings", rate=10, burst=10)
    clients = [still.client("coinbase") for _ in range(2)]
    failures = await asyncio.gather(*(burst(client, 20) for client in clients))
    assert failures == [[], []]
    counters = await still.control("coinbase", "counters")
    assert (counters["requests"], counters["http_429"]) == (40, 0)
    for client in clients:
        await client.close()


async def test_without_the_budget_the_exchange_does_refuse(still: Field) -> None:
    """The negative control: the zero above is the budget's doing."""
    stop_limits(still.simulator)
    await still.order("coinbase", "settings", rate=10, burst=10)
    client = still.client("coinbase", NoBudget())
    failures = await burst(client, 40)
    assert any(isinstance(failure, RateLimited) for failure in failures)
    assert (await still.control("coinbase", "counters"))["http_429"] > 0
    await client.close()


class Instant(SystemClock):
    """By which no reply takes time: what was ours may have left the window behind a slow one."""

    def monotonic(self) -> float:
        return 0.0


@pytest.mark.parametrize(("name", "weight"), [("coinbase", 4), ("binance", 2_000), ("binance_us", 400)])
async def test_what_others_use_of_the_limit_is_seen_counted_and_told(
    still: Field, name: str, weight: int
) -> None:
    stop_limits(still.simulator)
    still.clock = Instant()
    client = still.client(name)
    symbol = "BTC-USD" if name == "coinbase" else "BTCUSDT"
    await still.order(name, kind="foreign_weight", count=weight)
    await client.candles(symbol, Timeframe.M5, START - 3_000_000, START, Priority.REPAIR)
    counters = await metrics.read_counters(still.redis, client.row.id)
    assert counters["foreign_weight"] >= weight
    (told,) = await metrics.read_incidents(still.redis)
    assert told.name == "foreign_weight"
    await client.close()
