"""A warm-up that cannot have everything waits, or goes on and gets the rest later (P10, R3)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges import budget
from livermore_dagster.exchanges.budget import RateBudget
from livermore_dagster.exchanges.caller import ATTEMPTS
from livermore_dagster.exchanges.contract import BudgetFeedback
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext, open_context
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.selection import tell_computed, tell_monitored
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.ingest.stream_side import StreamSide
from livermore_dagster.ingest.supervise import Supervisor
from livermore_dagster.ingest.warmth import Warmth
from livermore_dagster.ingest.warmup import WARMUP_BARS, warm_up
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.metrics import read_incidents_sync
from tests.integration.ingest.played import IDS, Platform, played, until

START = 1_767_657_600_000 + 30_000
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
CLOSED_S = 3.0


class HeldClock(SystemClock):
    """Real time, its wall clock put forward by `ahead_ms`. Sleeps of a second and more last until `go`."""

    ahead_ms = 0

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.held = asyncio.Event()
        """Set when the first one is held."""

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms

    async def sleep(self, seconds: float) -> None:
        if seconds < 1:
            await super().sleep(seconds)
        else:
            self.held.set()
            await self.go.wait()


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    frames = (Timeframe.M1, Timeframe.M15, Timeframe.H1)
    with played(redis_url, database_url, ["binance"], 1.0, START, timeframes=frames) as platform:
        yield platform


@pytest.fixture
async def ctx(market: Platform) -> AsyncIterator[ExchangeContext]:
    async with open_context("binance", market) as context:
        await context.exchange_now()
        yield context


@pytest.fixture
async def closed(ctx: ExchangeContext, monkeypatch: pytest.MonkeyPatch) -> float:
    """The budget is closed for so long that requests are refused rather than kept; at least until then
    (monotonic)."""
    monkeypatch.setattr(budget, "_LONGEST_CLOSURE_WAIT_MS", 100)
    begun = time.monotonic()
    await close_budget(ctx, CLOSED_S)
    return begun + CLOSED_S


async def close_budget(ctx: ExchangeContext, seconds: float) -> None:
    assert isinstance(ctx.client.budget, RateBudget)
    await ctx.client.budget.feedback(BudgetFeedback(retry_after_ms=int(seconds * 1000)))


async def bars(ctx: ExchangeContext, symbol: str) -> int:
    return min([len(await ctx.cache.read(symbol, tf)) for tf in ctx.timeframes()])


async def test_a_closed_budget_is_waited_out(ctx: ExchangeContext, closed: float) -> None:
    report = await warm_up(ctx, SYMBOLS)
    assert time.monotonic() >= closed - 0.1
    assert (report.stats.failed, report.again) == ([], frozenset())
    for symbol in SYMBOLS:
        assert await bars(ctx, symbol) >= WARMUP_BARS


async def test_connections_wait_for_a_budget_closed_before_and_share_what_they_were_told(
    ctx: ExchangeContext, closed: float
) -> None:
    async def connect() -> float:
        return time.monotonic()

    async def untold(part: str, text: str) -> None:
        raise AssertionError(f"{part} failed: {text}")

    assert await ctx.gate.open(connect) >= closed
    board = StatusBoard(None, ctx.redis, ctx.row.id)  # type: ignore[arg-type]
    supervisor = Supervisor(ctx.clock, untold)
    sides = [StreamSide(ctx, board, supervisor, SYMBOLS, Patience()) for _ in "ab"]
    assert {side.hub._gate for side in sides} == {ctx.gate}, "a resumed stream goes by what the paused knew"


async def test_what_failed_is_warmed_up_when_the_budget_opens(market: Platform) -> None:
    clock, closed_s = HeldClock(), 600
    async with open_context("binance", market, clock=clock) as ctx:
        await ctx.exchange_now()
        await close_budget(ctx, closed_s)
        await _warmed_up_once_open(market, ctx, clock, closed_s)


async def _warmed_up_once_open(
    market: Platform, ctx: ExchangeContext, clock: HeldClock, closed_s: int
) -> None:
    board = StatusBoard(None, ctx.redis, ctx.row.id)  # type: ignore[arg-type]
    warmth = Warmth(ctx, board, Patience(warm_again_s=(0.05,)), ctx.known_now, lambda: SYMBOLS)
    await tell_monitored(ctx, SYMBOLS, SYMBOLS)
    await warmth.warm(SYMBOLS)
    assert warmth.cold == set(SYMBOLS)
    assert await ctx.redis.smembers(keys.warming(ctx.row.id)) == set(SYMBOLS)
    assert not await ctx.redis.hgetall(keys.warmed(ctx.row.id))
    asked = market.ask("binance", "counters")["requests"]
    again = asyncio.create_task(warmth.again())
    async with asyncio.timeout(60):
        await clock.held.wait()
        assert market.ask("binance", "counters")["requests"] == asked, "nothing is asked while it is closed"
        told = json.loads(await ctx.redis.get(keys.warmup_stats(ctx.row.id)))
        assert (len(told["failed"]), told["again_ms"] > told["updated_ms"]) == (6, True)
        await ctx.redis.hdel(keys.budget(ctx.row.id), "closed_until")
        clock.ahead_ms = closed_s * 1000
        clock.go.set()
        while warmth.cold:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while await ctx.redis.scard(keys.warming(ctx.row.id)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    again.cancel()
    for symbol in SYMBOLS:
        assert await bars(ctx, symbol) >= WARMUP_BARS
    assert len(board._troubles) == 1
    assert json.loads(await ctx.redis.get(keys.warmup_stats(ctx.row.id)))["again_ms"] == 0


async def test_who_is_removed_while_it_is_warmed_up_is_not_warm_when_it_comes_back(
    ctx: ExchangeContext,
) -> None:
    board = StatusBoard(None, ctx.redis, ctx.row.id)  # type: ignore[arg-type]
    monitored = SYMBOLS[:1]
    warmth = Warmth(ctx, board, Patience(), ctx.known_now, lambda: monitored)
    await tell_monitored(ctx, monitored, SYMBOLS)
    await warmth.warm(SYMBOLS)
    assert list(await ctx.redis.hgetall(keys.warmed(ctx.row.id))) == monitored
    await ctx.redis.hset(keys.warmed(ctx.row.id), SYMBOLS[1], "1")
    await tell_monitored(ctx, SYMBOLS, SYMBOLS[1:], added=SYMBOLS[1:])
    assert list(await ctx.redis.hgetall(keys.warmed(ctx.row.id))) == monitored
    assert await ctx.redis.smembers(keys.warming(ctx.row.id)) == {SYMBOLS[1]}


async def test_since_when_a_timeframe_is_computed_is_told_once_and_forgotten_with_it(
    ctx: ExchangeContext,
) -> None:
    async def told() -> dict[str, str]:
        return await ctx.redis.hgetall(keys.computed(ctx.row.id))

    await tell_computed(ctx, [Timeframe.M1, Timeframe.M5], 1_000)
    await tell_computed(ctx, [Timeframe.M5, Timeframe.H1], 2_000)
    assert await told() == {"5m": "1000", "1h": "2000"}
    await tell_computed(ctx, [Timeframe.H1, Timeframe.D1], None)
    assert await told() == {"1h": "2000"}, "what is new waits for a clock"


async def test_what_cannot_be_had_does_not_keep_its_symbol_warming_for_ever(market: Platform) -> None:
    clock = HeldClock()
    async with open_context("binance", market, clock=clock) as ctx:
        await ctx.exchange_now()
        await _counted_as_warm_and_asked_for_again(market, ctx, clock)


async def _counted_as_warm_and_asked_for_again(
    market: Platform, ctx: ExchangeContext, clock: HeldClock
) -> None:
    board = StatusBoard(None, ctx.redis, ctx.row.id)  # type: ignore[arg-type]
    bad, series = SYMBOLS[:1], 3
    patience = Patience(warm_again_s=(0.05, 60.0), warm_tries=2)
    warmth = Warmth(ctx, board, patience, ctx.known_now, lambda: SYMBOLS)
    await tell_monitored(ctx, SYMBOLS, bad)
    market.fault("binance", kind="error_page", endpoint="candles", status=503, count=2 * series * ATTEMPTS)
    await warmth.warm(bad)
    assert await ctx.redis.smembers(keys.warming(ctx.row.id)) == set(bad)
    again = asyncio.create_task(warmth.again())
    async with asyncio.timeout(60):
        await clock.held.wait()
        assert await ctx.redis.scard(keys.warming(ctx.row.id)) == 0
        assert warmth.cold == set(bad), "it is asked for again all the same"
        assert list(await ctx.redis.hgetall(keys.warmed(ctx.row.id))) == bad
        assert ["count as warm" in one.text for one in board._troubles] == [False, True]
        warmth._patience = replace(patience, warm_again_s=(0.05,))  # as if the minute were over
        clock.go.set()
        while warmth.cold:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    again.cancel()
    assert await bars(ctx, SYMBOLS[0]) >= WARMUP_BARS


async def test_a_symbol_that_is_gone_is_not_asked_for_again(ctx: ExchangeContext) -> None:
    report = await warm_up(ctx, [SYMBOLS[0], "NOSUCHUSDT"], timeframes=[Timeframe.H1])
    assert [one["symbol"] for one in report.stats.failed] == ["NOSUCHUSDT"]
    assert report.again == frozenset()


def test_an_outage_of_rest_at_the_start_ends_warm_all_the_same(market: Platform) -> None:
    market.want("binance", top=3)
    # So long that every attempt of every series ends within it.
    market.fault("binance", kind="error_page", endpoint="candles", status=503, count=3 * 3 * ATTEMPTS)
    service = IngestService(
        market, "binance", provenance=market.provenance, patience=Patience(warm_again_s=(0.3,))
    )
    service.start()
    try:
        until(lambda: market.state("binance") == "active", 60, "active")
        with market.redis() as client:
            until(lambda: client.scard(keys.warming(IDS["binance"])) == 0, 60, "all are warm")
            for symbol in market.symbols("binance"):
                for timeframe in (Timeframe.M15, Timeframe.H1):
                    held = client.zcard(keys.candles(IDS["binance"], symbol, timeframe))
                    assert held >= WARMUP_BARS, f"{symbol} {timeframe}"
            told = [one.name for one in read_incidents_sync(client)]
        assert told.count(IncidentName.WARMUP_FAILED) == 1
    finally:
        assert service.stop(60.0)
    assert service.error is None
