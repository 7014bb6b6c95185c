"""Backfill: history of chosen series into PostgreSQL, as far back as asked or as the exchange has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from livermore_dagster.errors import ExchangeError
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.intake import ask, first_open, store_absent, store_candles, tell_listing
from livermore_dagster.ingest.together import together
from livermore_dagster.ingest.warmup import WARMUP_BARS
from livermore_dagster.market.candle import Origin
from livermore_dagster.market.gaps import plan_pages
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.candle_cache import CACHE_SIZE

__all__ = ["BackfillProgress", "BackfillReport", "backfill"]

CONCURRENCY = 8
"""Series under way at once; the rate budget sets the pace, this only covers the requests' latency."""


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    pages_done: int
    pages_total: int
    candles: int
    current: str
    """Symbol and timeframe."""


@dataclass(slots=True)
class BackfillReport:
    requests: int = 0
    candles: int = 0
    """Candles the exchange sent, closed ones."""
    stored: int = 0
    """New or changed in PostgreSQL."""
    skipped_bars: int = 0
    """Bars not asked for: stored, proven absent, or before the listing."""
    failed: list[dict[str, str]] = field(default_factory=list)
    """{symbol, timeframe, reason}"""
    seconds: float = 0.0


async def backfill(
    ctx: ExchangeContext,
    symbols: Sequence[str],
    timeframes: Sequence[Timeframe],
    since_ms: int | None = None,
    on_progress: Callable[[BackfillProgress], None] | None = None,
    *,
    until_ms: int | None = None,
) -> BackfillReport:
    """Ask for what PostgreSQL and the ledger lack of [since, now); resumable and idempotent.

    Without `since_ms`: the newest 300 bars of each series. What is among a series' newest 1,000 bars goes to
    the cache too, and so raises closes; older history goes straight to PostgreSQL and raises none.
    """
    now = await ctx.exchange_now(Priority.BROWSE)
    until = now if until_ms is None else min(until_ms, now)
    run = _Run(ctx, on_progress)
    jobs: list[_Job] = []
    for timeframe in sorted(timeframes, key=lambda tf: -tf.ms):
        end = timeframe.open_of(until)
        start = end - WARMUP_BARS * timeframe.ms if since_ms is None else since_ms
        start = -(-start // timeframe.ms) * timeframe.ms
        newest = timeframe.open_of(now)
        jobs += [await run.plan(symbol, timeframe, start, end, newest) for symbol in symbols]
    await run.work([job for job in jobs if job.pages])
    run.report.seconds = ctx.clock.monotonic() - run.started
    return run.report


@dataclass(slots=True)
class _Job:
    symbol: str
    timeframe: Timeframe
    pages: list[tuple[int, int]]
    """In the order they are asked for."""
    cached_from_ms: int
    """Bars from here on belong to the cache as well."""
    oldest: int | None


class _Run:
    def __init__(self, ctx: ExchangeContext, on_progress: Callable[[BackfillProgress], None] | None) -> None:
        self.ctx = ctx
        self.report = BackfillReport()
        self.started = ctx.clock.monotonic()
        self._on_progress = on_progress
        self._pages = 0
        self._pages_done = 0

    async def plan(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int, now_ms: int) -> _Job:
        first = await first_open(self.ctx, symbol, timeframe)
        begin = start_ms if first is None else max(start_ms, timeframe.open_of(first))
        gaps = await self.ctx.table.gaps(self.ctx.row.id, symbol, timeframe, begin, end_ms)
        facts = await self.ctx.table.facts(self.ctx.row.id, [symbol], timeframe, count_to=1)
        missing = [(gap.from_ms, gap.to_ms) for gap in gaps]
        cached_from = now_ms - CACHE_SIZE * timeframe.ms
        pages = plan_pages(missing, timeframe, self.ctx.quirks.rest_rows)
        # What the cache takes comes in the order of time; history before it newest first, so that an
        # interrupted backfill leaves no hole between what it has and the present.
        recent = [page for page in pages if page[1] > cached_from]
        older = [page for page in reversed(pages) if page[1] <= cached_from]
        bars = max(end_ms - start_ms, 0) // timeframe.ms
        self.report.skipped_bars += bars - sum(b - a for a, b in missing) // timeframe.ms
        self._pages += len(pages)
        oldest = facts[0].first_open_ms if facts else None
        return _Job(symbol, timeframe, recent + older, cached_from, oldest)

    async def work(self, jobs: Sequence[_Job]) -> None:
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(job: _Job) -> None:
            async with gate:
                await self._fill(job)

        await together(one(job) for job in jobs)

    async def _fill(self, job: _Job) -> None:
        asked = 0
        begin = 0
        try:
            for page in job.pages:
                if page[1] <= begin:
                    self.report.skipped_bars += (page[1] - page[0]) // job.timeframe.ms
                else:
                    begin = await self._ask(job, page) or begin
                asked += 1
                self._tell(job, 1)
        except ExchangeError as error:
            self.report.failed.append(
                {"symbol": job.symbol, "timeframe": job.timeframe.value, "reason": error.message}
            )
            self._tell(job, len(job.pages) - asked)

    async def _ask(self, job: _Job, page: tuple[int, int]) -> int | None:
        """One page; returns where the series begins when the reply shows it."""
        ctx, symbol, timeframe = self.ctx, job.symbol, job.timeframe
        self.report.requests += 1
        reply = await ask(ctx, symbol, timeframe, page, Priority.BROWSE, Origin.BACKFILL)
        first = await tell_listing(ctx, symbol, timeframe, page, reply, job.oldest)
        candles = reply.candles
        self.report.candles += len(candles)
        counts = await ctx.table.upsert(ctx.row.id, candles)
        self.report.stored += counts.inserted + counts.updated
        await store_candles(ctx, [one for one in candles if one.candle.open_ms >= job.cached_from_ms])
        await store_absent(ctx, reply.effects.absent, reply.asked_ms, first)
        if candles:
            opens = candles[0].candle.open_ms
            job.oldest = opens if job.oldest is None else min(job.oldest, opens)
        return first

    def _tell(self, job: _Job, pages: int) -> None:
        self._pages_done += pages
        if self._on_progress is not None:
            current = f"{job.symbol} {job.timeframe.value}"
            self._on_progress(BackfillProgress(self._pages_done, self._pages, self.report.candles, current))
