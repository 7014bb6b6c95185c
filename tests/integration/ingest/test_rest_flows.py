"""Warm-up, boundary fetch, repair, backfill and probe against the played exchanges, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from msgspec.structs import replace

from livermore_dagster.clock import SystemClock
from livermore_dagster.errors import UnsupportedTimeframe
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.ingest import fetch
from livermore_dagster.ingest.backfill import backfill
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext, open_context
from livermore_dagster.ingest.fetch import fetch_due
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.probe import probe_timeframes
from livermore_dagster.ingest.repair import RepairQueue, repair
from livermore_dagster.ingest.stream_side import StreamSide
from livermore_dagster.ingest.supervise import Supervisor
from livermore_dagster.ingest.warmup import WARMUP_BARS, warm_up
from livermore_dagster.market.candle import Origin, Rank
from livermore_dagster.market.closing import Question, Reason
from livermore_dagster.market.closing_rest import SETTLE_MS
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.stores.postgres.probes import read_probe
from livermore_dagster.stores.redis import keys
from tests.integration.ingest.played import Platform, played

# Half a minute after 00:00: every timeframe has just closed a bar.
START = 1_767_657_600_000 + 30_000


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["coinbase", "binance"], speed=1.0, start_ms=START) as platform:
        yield platform


@pytest.fixture
async def coinbase(market: Platform) -> AsyncIterator[ExchangeContext]:
    async with open_context("coinbase", market) as ctx:
        yield ctx


@pytest.fixture
async def binance(market: Platform) -> AsyncIterator[ExchangeContext]:
    async with open_context("binance", market) as ctx:
        yield ctx


async def symbols_of(market: Platform, exchange: str, kinds: dict[str, int]) -> list[str]:
    found: list[str] = []
    listed = await asyncio.to_thread(market.ask, exchange, "symbols")
    for kind, count in kinds.items():
        found += [s["symbol"] for s in listed if s["kind"] == kind and s["alias_of"] is None][:count]
    return found


class LateClock(SystemClock):
    """Real time, put forward by `ahead_s`."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


async def assert_cache_is_true(
    market: Platform,
    ctx: ExchangeContext,
    symbols: list[str],
    timeframe: Timeframe,
    asked_ms: int | None = None,
) -> None:
    """Every cached final candle is the exchange's, and none is missing from the oldest one on to the newest,
    or to those that had closed by `asked_ms` (exchange clock; now)."""
    for symbol in symbols:
        cached = await ctx.cache.read(symbol, timeframe)
        if not cached:
            continue
        end = timeframe.open_of(ctx.stopwatch.now() or 0)
        if asked_ms is not None:
            end = max(timeframe.open_of(asked_ms), cached[-1].end_ms)
        truth = await asyncio.to_thread(
            market.truth, ctx.row.name, symbol, timeframe, cached[0].candle.open_ms, end
        )
        stored = {
            one.candle.open_ms: (
                one.candle.open, one.candle.high, one.candle.low, one.candle.close, one.candle.volume
            )
            for one in cached
            if one.end_ms <= end
        }  # fmt: skip
        assert stored == truth, f"{symbol} {timeframe}"


def requests(market: Platform, exchange: str) -> int:
    counters = market.ask(exchange, "counters")
    return int(counters["requests"])


@pytest.mark.parametrize("exchange", ["coinbase", "binance"])
async def test_warm_up_fetches_what_is_missing_and_then_nothing(market: Platform, exchange: str) -> None:
    async with open_context(exchange, market) as ctx:
        symbols = await symbols_of(market, exchange, {"liquid": 3, "sparse": 2, "silent": 1})
        await ctx.client.products()
        asked_ms = await ctx.exchange_now()
        report = await warm_up(ctx, symbols)
        assert report.stats.failed == []
        assert report.stats.total == len(symbols) * len(TIMEFRAMES)
        for timeframe in TIMEFRAMES:
            await assert_cache_is_true(market, ctx, symbols, timeframe, asked_ms)
            assert len(await ctx.cache.read(symbols[0], timeframe)) >= WARMUP_BARS
        schedule = json.loads(await ctx.redis.get(keys.warmup_schedule(ctx.row.id)))
        # From the largest timeframe to the smallest.
        order = [Timeframe(one["timeframe"]).ms for one in schedule]
        assert order == sorted(order, reverse=True)
        assert json.loads(await ctx.redis.get(keys.warmup_stats(ctx.row.id)))["phase"] == "done"

        before = requests(market, exchange)
        now = await ctx.exchange_now()
        again = await warm_up(ctx, symbols, now)
        closed_meanwhile = again.stats.requests
        closed = sum(tf.open_of(now) > tf.open_of(asked_ms) for tf in TIMEFRAMES)
        assert closed_meanwhile <= max(1, closed) * len(symbols)
        assert requests(market, exchange) - before == closed_meanwhile
        counters = market.ask(exchange, "counters")
        assert counters["http_429"] == 0


async def test_a_lost_cache_comes_back_from_postgresql_without_a_request(
    market: Platform, binance: ExchangeContext
) -> None:
    symbols = await symbols_of(market, "binance", {"liquid": 2, "sparse": 1})
    frames = [Timeframe.H1, Timeframe.M15]
    await warm_up(binance, symbols, timeframes=frames)
    kept = {}
    for symbol in symbols:
        for timeframe in frames:
            cached = await binance.cache.read(symbol, timeframe)
            # As the stream gave them: few are ever asked for by REST.
            kept[symbol, timeframe] = [replace(one, rank=Rank.FINAL) for one in cached]
            await binance.table.upsert(binance.row.id, kept[symbol, timeframe])
            await binance.redis.delete(keys.candles(binance.row.id, symbol, timeframe))
    before = requests(market, "binance")
    queue = RepairQueue(binance, None)
    binance.on_early = queue.confirm
    report = await warm_up(binance, symbols, binance.stopwatch.now(), timeframes=frames)
    assert queue.waiting == 0, "nor is one left for later"
    assert (report.stats.requests, report.stats.skipped) == (0, 6)
    assert requests(market, "binance") == before
    for (symbol, timeframe), candles in kept.items():
        back = await binance.cache.read(symbol, timeframe)
        assert [one.candle for one in back] == [one.candle for one in candles]


async def test_what_rest_gave_early_is_asked_for_once_more(market: Platform) -> None:
    """A value at close + 1 s need not be that at close + 30 s (failure mode 6)."""
    symbol, boundary = (await symbols_of(market, "coinbase", {"liquid": 1}))[0], START - 30_000
    fault = {"kind": "revise", "symbol": symbol, "settle_ms": 600_000, "count": 2}
    await asyncio.to_thread(market.fault, "coinbase", **fault)
    clock = LateClock()
    async with open_context("coinbase", market, clock=clock) as coinbase:
        queue = RepairQueue(coinbase, None)
        coinbase.on_early = queue.confirm
        await fetch_due(coinbase, boundary, [Timeframe.M15], [symbol])
        early = (await coinbase.cache.read(symbol, Timeframe.M15, 1))[0]
        assert early.rank is Rank.FINAL
        truth = await asyncio.to_thread(
            market.truth, "coinbase", symbol, Timeframe.M15, early.candle.open_ms, boundary
        )
        assert truth[early.candle.open_ms][4] != early.candle.volume
        clock.ahead_s = SETTLE_MS / 1000  # what was known of its time is a lower bound: it stands there
        await queue.drain()
        assert (queue.total.confirmed, queue.total.corrected) == (1, 1)
        assert (await coinbase.cache.read(symbol, Timeframe.M15, 1))[0].rank is Rank.SETTLED
        await assert_cache_is_true(market, coinbase, [symbol], Timeframe.M15)


async def test_a_second_look_that_a_pause_or_a_death_took_along_is_taken_up_by_the_next_warm_up(
    market: Platform, coinbase: ExchangeContext
) -> None:
    """What is cached tells of it: no boundary looks back behind bars that have come since."""
    symbol = (await symbols_of(market, "coinbase", {"liquid": 1}))[0]
    frames = [Timeframe.M15, Timeframe.H1]
    await warm_up(coinbase, [symbol], START, timeframes=frames)
    early = {Timeframe.M15: (-1, -3), Timeframe.H1: (-1, -2)}
    for timeframe, places in early.items():
        cached = await coinbase.cache.read(symbol, timeframe)
        assert all(one.rank is Rank.SETTLED for one in cached)
        for place in places:
            was = cached[place]
            changed = replace(was.candle, volume="0.5")
            cached[place] = replace(was, rank=Rank.FINAL, origin=Origin.BOUNDARY, candle=changed)
        await coinbase.redis.delete(keys.candles(coinbase.row.id, symbol, timeframe))
        await coinbase.cache.write(cached, 1)
    queue = RepairQueue(coinbase, None)
    coinbase.on_early = queue.confirm
    for _ in range(2):
        report = await warm_up(coinbase, [symbol], coinbase.stopwatch.now(), timeframes=frames)
        assert report.stats.requests == 0
        assert queue.waiting == 2, "1h, both together, and 15m; of the newest 15m the next run asks again"
    await queue.drain()
    assert (queue.total.asked, queue.total.corrected) == (2, 3)
    await assert_cache_is_true(market, coinbase, [symbol], Timeframe.H1)
    cached = await coinbase.cache.read(symbol, Timeframe.M15)
    assert [one.rank for one in cached[-3:]] == [Rank.SETTLED, Rank.SETTLED, Rank.FINAL]
    await warm_up(coinbase, [symbol], coinbase.stopwatch.now(), timeframes=frames)
    assert queue.waiting == 0


async def test_a_boundary_looks_back_at_what_the_last_one_got_early(
    market: Platform, coinbase: ExchangeContext
) -> None:
    symbol, boundary = (await symbols_of(market, "coinbase", {"liquid": 1}))[0], START - 30_000
    fault = {"kind": "revise", "symbol": symbol, "settle_ms": 1_000_000, "count": 2}
    await asyncio.to_thread(market.fault, "coinbase", **fault)
    await fetch_due(coinbase, boundary - Timeframe.M15.ms, [Timeframe.M15], [symbol])
    assert (await coinbase.cache.read(symbol, Timeframe.M15, 1))[0].rank is Rank.FINAL
    report = await fetch_due(coinbase, boundary, [Timeframe.M15], [symbol])
    assert (report.requests, report.stored) == (1, 2)
    await assert_cache_is_true(market, coinbase, [symbol], Timeframe.M15)


async def test_boundary_fetch_brings_what_has_just_closed(
    market: Platform, coinbase: ExchangeContext
) -> None:
    symbols = await symbols_of(market, "coinbase", {"liquid": 2, "sparse": 2})
    boundary = START - 30_000
    due = [Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1]
    report = await fetch_due(coinbase, boundary, [*due, Timeframe.M5], symbols)
    assert report.timeframes == tuple(due)  # 5m is streamed: never fetched
    assert report.count("failed") == 0
    for timeframe in due:
        await assert_cache_is_true(market, coinbase, symbols, timeframe)
        for symbol in symbols[:2]:
            newest = (await coinbase.cache.read(symbol, timeframe, 1))[0]
            assert newest.end_ms == boundary
    again = await fetch_due(coinbase, boundary, due, symbols)
    assert again.requests == 0
    assert again.count("closed") + again.count("absent") == len(symbols) * len(due)


async def test_a_late_row_is_asked_for_again(market: Platform, coinbase: ExchangeContext) -> None:
    symbol = (await symbols_of(market, "coinbase", {"liquid": 1}))[0]
    await warm_up(coinbase, [symbol], timeframes=[Timeframe.M5])
    market.fault("coinbase", kind="late_row", symbol=symbol, count=2)
    report = await fetch_due(coinbase, START - 30_000, [Timeframe.H1], [symbol])
    assert [one.outcome for one in report.series] == ["closed"]
    await assert_cache_is_true(market, coinbase, [symbol], Timeframe.H1)


async def test_a_row_later_than_a_fetch_waits_is_asked_for_again(
    market: Platform, coinbase: ExchangeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever fetched: at the next boundary a 1d row would not be due."""
    monkeypatch.setattr(fetch, "RETRY_AFTER_S", ())
    boundary, day = START - 30_000, Timeframe.D1
    symbols = await symbols_of(market, "coinbase", {"liquid": 2})
    await warm_up(coinbase, symbols, timeframes=[Timeframe.M5])
    market.fault("coinbase", kind="late_row", symbol=symbols[0], timeframe="1d", count=2)
    report = await fetch_due(coinbase, boundary, [day], symbols)
    assert [one.outcome for one in report.series] == ["unknown", "closed"]
    board = StatusBoard(None, coinbase.redis, coinbase.row.id)  # type: ignore[arg-type]
    patience = Patience(repair_s=(1.0,) * 20)
    side = StreamSide(coinbase, board, Supervisor(coinbase.clock, _untold), symbols, patience)
    await side.fallback.look_for_late_rows(boundary, [day])
    assert side.repairs.waiting == 1
    await side.repairs.drain()
    await assert_cache_is_true(market, coinbase, symbols, day)
    assert (await coinbase.cache.read(symbols[0], day, 1))[0].end_ms == boundary
    await side.fallback.look_for_late_rows(boundary, [day])
    assert side.repairs.waiting == 0


async def test_a_symbol_that_is_gone_does_not_keep_its_boundary_open(
    market: Platform, coinbase: ExchangeContext
) -> None:
    symbols = [*await symbols_of(market, "coinbase", {"liquid": 1}), "NOSUCH-USD"]
    report = await fetch_due(coinbase, START - 30_000, [Timeframe.H1], symbols)
    assert [one.outcome for one in report.series] == ["closed", "refused"]
    assert report.failure() is None


async def _untold(part: str, text: str) -> None:
    raise AssertionError(f"{part} failed: {text}")


async def test_repair_fills_asks_once_and_keeps_the_ledger(
    market: Platform, coinbase: ExchangeContext
) -> None:
    symbols = await symbols_of(market, "coinbase", {"liquid": 1, "sparse": 2})
    end = Timeframe.M5.open_of(START)
    questions = [
        Question(symbol, Timeframe.M5, at, at + 300_000, Reason.SILENT, rank)
        for rank, symbol in enumerate(symbols)
        for at in range(end - 40 * 300_000, end, 300_000)
    ]
    coinbase.stopwatch.anchor(START)
    report = await repair(coinbase, questions)
    assert report.asked == len(symbols)  # adjacent buckets share a request
    assert (report.failed, report.given_up) == (0, 0)
    assert report.filled + report.absent == len(questions)
    assert report.absent > 0
    for symbol in symbols:
        await assert_cache_is_true(market, coinbase, [symbol], Timeframe.M5)
        for one in await coinbase.cache.read(symbol, Timeframe.M5):
            assert one.rank is Rank.SETTLED
        spans = await coinbase.table.gaps(coinbase.row.id, symbol, Timeframe.M5, end - 40 * 300_000, end)
        cached = await coinbase.cache.read(symbol, Timeframe.M5)
        assert sum(span.to_ms - span.from_ms for span in spans) // 300_000 == len(cached)


async def test_a_refusal_for_the_rate_costs_a_question_no_attempt(
    market: Platform, coinbase: ExchangeContext
) -> None:
    """A ban may outlast all attempts; what it kept from being asked would be given up."""
    symbol = (await symbols_of(market, "coinbase", {"liquid": 1}))[0]
    end = Timeframe.M5.open_of(START) - 300_000
    coinbase.stopwatch.anchor(START)
    market.fault("coinbase", kind="rate_limit", count=1, retry_after_s=1)
    queue = RepairQueue(coinbase, None, retry_after_s=())
    queue.put([Question(symbol, Timeframe.M5, end - 300_000, end, Reason.UNPROVEN, 0)])
    await queue.drain()
    assert (queue.total.given_up, queue.total.filled) == (0, 1)
    cached = await coinbase.cache.read(symbol, Timeframe.M5)
    assert [one.candle.open_ms for one in cached] == [end - 300_000]


async def test_backfill_goes_straight_to_postgresql_and_resumes(
    market: Platform, binance: ExchangeContext
) -> None:
    symbols = await symbols_of(market, "binance", {"liquid": 1, "sparse": 1})
    now = await binance.exchange_now()
    since = Timeframe.M15.open_of(now) - 3_000 * Timeframe.M15.ms
    report = await backfill(binance, symbols, [Timeframe.M15], since)
    assert (report.candles, report.failed) == (6_000, [])
    for symbol in symbols:
        end = Timeframe.M15.open_of(now)
        truth = await asyncio.to_thread(market.truth, "binance", symbol, Timeframe.M15, since, end)
        assert market.stored("binance", symbol, Timeframe.M15, since, end) == truth
        # Only the cache's newest 1,000 raise closes.
        assert await binance.redis.zcard(keys.candles(2, symbol, Timeframe.M15)) <= 1_000
    assert await binance.redis.xlen(keys.closes(2)) <= 2_000
    again = await backfill(binance, symbols, [Timeframe.M15], since)
    assert (again.requests, again.skipped_bars) == (0, 6_000)
    older = await backfill(binance, symbols[:1], [Timeframe.M15], since - 500 * Timeframe.M15.ms)
    assert (older.requests, older.candles, older.skipped_bars) == (1, 500, 3_000)


async def test_backfill_ends_at_the_listing(market: Platform, binance: ExchangeContext) -> None:
    listed = await asyncio.to_thread(market.ask, "binance", "symbols")
    young = max(
        (s for s in listed if s["trading"] and s["listed_ms"] < START), key=lambda one: one["listed_ms"]
    )
    since = young["listed_ms"] - 5_000 * Timeframe.D1.ms
    report = await backfill(binance, [young["symbol"]], [Timeframe.D1], since)
    assert report.requests <= 2
    again = await backfill(binance, [young["symbol"]], [Timeframe.D1], since)
    assert again.requests == 0


async def test_the_4h_probe_is_asked_once_and_kept(market: Platform, coinbase: ExchangeContext) -> None:
    symbol = (await symbols_of(market, "coinbase", {"liquid": 1}))[0]
    assert await probe_timeframes(coinbase, symbol) == ()
    async with coinbase.pool.connection() as connection:
        probe = await read_probe(connection, coinbase.row.id, "timeframe:4h")
    assert probe is not None
    assert probe.supported
    before = requests(market, "coinbase")
    assert await probe_timeframes(coinbase, symbol) == ()
    assert requests(market, "coinbase") == before


async def test_a_refused_4h_is_unsupported_everywhere(market: Platform) -> None:
    door = f"{market.addresses['coinbase']['control_url']}/settings"
    await asyncio.to_thread(httpx.post, door, json={"four_hour": False})
    symbol = (await symbols_of(market, "coinbase", {"liquid": 1}))[0]
    async with open_context("coinbase", market) as ctx:
        assert await probe_timeframes(ctx, symbol) == (Timeframe.H4,)
        report = await fetch_due(ctx, START - 30_000, [Timeframe.H4], [symbol])
        assert report.timeframes == ()
    async with open_context("coinbase", market) as again:
        assert Timeframe.H4 not in again.timeframes()
        before = requests(market, "coinbase")
        assert await probe_timeframes(again, symbol) == (Timeframe.H4,)
        with pytest.raises(UnsupportedTimeframe):
            await again.client.candles(symbol, Timeframe.H4, 0, Timeframe.H4.ms, Priority.BROWSE)
        assert requests(market, "coinbase") == before
