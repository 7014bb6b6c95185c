"""Warm-up (P10): what is missing of the newest 300 bars of every series, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from msgspec.structs import replace

from livermore_dagster.clock import seconds_until
from livermore_dagster.errors import ExchangeError, RateLimited
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.coverage import Coverage
from livermore_dagster.ingest.early import left_over
from livermore_dagster.ingest.intake import (
    ask,
    first_open,
    ledger,
    no_such_symbol,
    store_absent,
    store_candles,
    tell_listing,
)
from livermore_dagster.ingest.together import together
from livermore_dagster.market.candle import Origin
from livermore_dagster.market.gaps import plan_pages
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import SeriesFacts
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CACHE_SIZE

__all__ = ["WARMUP_BARS", "WarmupReport", "WarmupStats", "publish", "warm_up"]

WARMUP_BARS = 300
SCAN_AT_ONCE = 50
"""Symbols whose cached candles are read in one round trip."""
CONCURRENCY = 8
"""Series under way at once; the rate budget sets the pace, this only covers the requests' latency."""
TELL_EVERY_S = 0.25
LONGEST_CLOSURE_S = 180.0
"""A budget that opens within this is waited for; a longer ban fails the series, which are tried again."""
CLOSURES = 3
"""So many closures one series waits out."""


@dataclass(slots=True)
class WarmupStats:
    """Progress, as published at keys.warmup_stats (JSON of these names)."""

    phase: str
    """'scanning', 'fetching' or 'done'."""
    total: int = 0
    """Series (symbol and timeframe) in all."""
    done: int = 0
    skipped: int = 0
    """Series that lacked nothing."""
    failed: list[dict[str, str]] = field(default_factory=list)
    """{symbol, timeframe, reason} of each series that could not be filled."""
    percent: float = 0.0
    eta_s: float | None = None
    current: str = ""
    """Symbol and timeframe being fetched."""
    requests: int = 0
    candles: int = 0
    started_ms: int = 0
    updated_ms: int = 0
    closed_until_ms: int = 0
    """Wall clock when the closed budget opens that it waits for; 0 while it does not."""
    again_ms: int = 0
    """Wall clock when what failed is tried again; 0 where nothing is."""


@dataclass(frozen=True, slots=True)
class WarmupReport:
    stats: WarmupStats
    seconds: float
    again: frozenset[str] = frozenset()
    """Symbols of which a series failed that another try may bring."""
    retry_at_ms: int = 0
    """Wall clock before which another try cannot succeed: the budget is closed."""


async def warm_up(
    ctx: ExchangeContext,
    symbols: Sequence[str],
    exchange_now: int | None = None,
    on_progress: Callable[[WarmupStats], None] | None = None,
    *,
    timeframes: Sequence[Timeframe] | None = None,
    bars: int = WARMUP_BARS,
) -> WarmupReport:
    """Fill cache (from PostgreSQL first, then by REST) with the newest `bars` closed candles of every series.

    Largest timeframe first, symbols in rank order. `exchange_now`: exchange clock, epoch ms, at most as late
    as it really is; None asks the exchange. The schedule is published before the first request.
    """
    if exchange_now is not None:
        ctx.stopwatch.anchor(exchange_now)
    now = await ctx.exchange_now(Priority.WARMUP)
    run = _Run(ctx, now, bars, on_progress)
    wanted = ctx.timeframes() if timeframes is None else timeframes
    await run.begin()
    for timeframe in sorted(wanted, key=lambda tf: -tf.ms):
        await run.scan(symbols, timeframe)
    await run.publish_schedule()
    await run.fetch()
    return WarmupReport(run.stats, ctx.clock.monotonic() - run.started, frozenset(run.again), run.retry_at_ms)


async def publish(ctx: ExchangeContext, stats: WarmupStats) -> None:
    """At keys.warmup_stats, as of now."""
    stats.updated_ms = ctx.clock.now_ms()
    await ctx.redis.set(keys.warmup_stats(ctx.row.id), json.dumps(asdict(stats)))


class _Run:
    """One warm-up: scan everything, then fetch what is missing, in the same order."""

    def __init__(
        self,
        ctx: ExchangeContext,
        now_ms: int,
        bars: int,
        on_progress: Callable[[WarmupStats], None] | None,
    ) -> None:
        self.ctx = ctx
        self.started = ctx.clock.monotonic()
        self.stats = WarmupStats("scanning", started_ms=ctx.clock.now_ms())
        self.again: set[str] = set()
        self.retry_at_ms = 0
        self._now_ms = now_ms
        self._bars = bars
        self._on_progress = on_progress
        self._schedule: list[Coverage] = []
        self._planned = 0
        self._published = float("-inf")

    async def begin(self) -> None:
        """What an earlier warm-up published is no longer true."""
        await self.ctx.redis.delete(keys.warmup_schedule(self.ctx.row.id))
        await self._tell(always=True)

    async def scan(self, symbols: Sequence[str], timeframe: Timeframe) -> None:
        """What each series lacks, after the cache has got back what PostgreSQL holds of it.

        Whoever asks once more for what REST gave early hears of what is left of that: the hourly audit looks
        at streamed candles only.
        """
        for start in range(0, len(symbols), SCAN_AT_ONCE):
            some = symbols[start : start + SCAN_AT_ONCE]
            cached = await self.ctx.cache.read_many(some, timeframe)
            held = await self.ctx.table.facts(self.ctx.row.id, some, timeframe, count_to=CACHE_SIZE)
            facts = {one.symbol: one for one in held}
            for symbol in some:
                if timeframe not in self.ctx.row.streamed_timeframes:
                    for one in left_over(cached[symbol], self._now_ms):
                        self.ctx.tell_early(one)
                opens = {one.candle.open_ms for one in cached[symbol]}
                fact = facts.get(symbol)
                if fact is not None and _lacks(opens, fact):
                    opens |= await self._refill(symbol, timeframe, opens)
                await self._judge(symbol, timeframe, opens)
            await self._tell()

    async def _refill(self, symbol: str, timeframe: Timeframe, cached: set[int]) -> set[int]:
        """PostgreSQL's newest candles go back into a cache that has lost them (P10)."""
        end = self._now_ms + timeframe.ms
        kept = await self.ctx.table.read(self.ctx.row.id, symbol, timeframe, 0, end, CACHE_SIZE, newest=True)
        lost = [
            replace(one, origin=Origin.WARMUP, proven_ms=self._now_ms)
            for one in kept
            if one.candle.open_ms not in cached
        ]
        await store_candles(self.ctx, lost, kept=True)
        return {one.candle.open_ms for one in kept}

    async def _judge(self, symbol: str, timeframe: Timeframe, opens: set[int]) -> None:
        self.stats.total += 1
        known = Coverage(symbol, timeframe, opens)
        if self._lacking(known):
            known.asked = await ledger(self.ctx, symbol, timeframe)
            known.first_ms = await first_open(self.ctx, symbol, timeframe)
        if self._lacking(known):
            self._schedule.append(known)
            self._planned += len(self._pages(known))
        else:
            self.stats.skipped += 1

    def _lacking(self, known: Coverage) -> list[tuple[int, int]]:
        return known.newest_bars_missing(known.timeframe.open_of(self._now_ms), self._bars)

    def _pages(self, known: Coverage) -> list[tuple[int, int]]:
        return plan_pages(self._lacking(known), known.timeframe, self.ctx.quirks.rest_rows)

    async def publish_schedule(self) -> None:
        schedule = [
            {
                "symbol": known.symbol,
                "timeframe": known.timeframe.value,
                "missing_bars": sum(b - a for a, b in self._lacking(known)) // known.timeframe.ms,
                "requests": len(self._pages(known)),
            }
            for known in self._schedule
        ]
        await self.ctx.redis.set(keys.warmup_schedule(self.ctx.row.id), json.dumps(schedule))

    async def fetch(self) -> None:
        self.stats.phase = "fetching"
        await self._tell(always=True)
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(known: Coverage) -> None:
            async with gate:
                await self._fill(known)
                # Kept for every series of a long list they would outweigh all else in this process.
                known.opens.clear()

        await together(one(known) for known in self._schedule)
        self.stats.phase, self.stats.current = "done", ""
        await self._tell(always=True)

    async def _fill(self, known: Coverage) -> None:
        self.stats.current = f"{known.symbol} {known.timeframe.value}"
        try:
            # Newest first: what matters most is there soonest, and a sparse series is read further back.
            while pages := self._pages(known):
                await self._ask_when_open(known, pages[-1])
                await self._tell()
        except ExchangeError as error:
            if not no_such_symbol(error):
                self.again.add(known.symbol)
            if isinstance(error, RateLimited):
                self.retry_at_ms = max(self.retry_at_ms, error.retry_at_ms)
            self.stats.failed.append(
                {"symbol": known.symbol, "timeframe": known.timeframe.value, "reason": error.message}
            )
        else:
            self.stats.done += 1
        await self._tell()

    async def _ask_when_open(self, known: Coverage, page: tuple[int, int]) -> None:
        """Waits out a closed budget; failing every series at once would leave all of them cold."""
        closures = 0
        while True:
            try:
                await self._ask(known, page)
                return
            except RateLimited as closed:
                closures += 1
                wait_s = seconds_until(self.ctx.clock, closed.retry_at_ms)
                if closures > CLOSURES or wait_s > LONGEST_CLOSURE_S:
                    raise
                self.stats.closed_until_ms = closed.retry_at_ms
                await self._tell(always=True)
                await self.ctx.clock.sleep(max(1.0, wait_s))
                self.stats.closed_until_ms = 0

    async def _ask(self, known: Coverage, page: tuple[int, int]) -> None:
        symbol, timeframe = known.symbol, known.timeframe
        self.stats.requests += 1
        reply = await ask(self.ctx, symbol, timeframe, page, Priority.WARMUP, Origin.WARMUP)
        first = await tell_listing(self.ctx, symbol, timeframe, page, reply, known.oldest)
        if first is not None:
            known.first_ms = first
        await store_absent(self.ctx, reply.effects.absent, reply.asked_ms, known.first_ms)
        stored = await store_candles(self.ctx, reply.candles)
        self.stats.candles += stored
        known.opens |= {one.candle.open_ms for one in reply.candles}
        known.tried.append(page)

    async def _tell(self, *, always: bool = False) -> None:
        """Progress at keys.warmup_stats, a few times a second at most."""
        stats, now = self.stats, self.ctx.clock.monotonic()
        if not always and now - self._published < TELL_EVERY_S:
            return
        self._published = now
        finished = stats.done + stats.skipped + len(stats.failed)
        stats.percent = round(100 * finished / stats.total, 1) if stats.total else 0.0
        if stats.phase == "fetching" and stats.requests:
            left = max(self._planned - stats.requests, 0)
            stats.eta_s = round(left * (now - self.started) / stats.requests, 1)
        elif stats.phase == "done":
            stats.percent, stats.eta_s = 100.0, 0.0
        await publish(self.ctx, stats)
        if self._on_progress is not None:
            self._on_progress(stats)


def _lacks(cached: set[int], fact: SeriesFacts) -> bool:
    """Whether PostgreSQL holds candles that the cache should have and has not."""
    newest = max(cached, default=-1)
    return fact.last_open_ms > newest or len(cached) < min(CACHE_SIZE, fact.count)
