"""The boundary fetch: what closed at B and whatever is missing before it, from REST into the candle cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import NamedTuple

from livermore_dagster.errors import ExchangeError, ExchangeUnavailable, RateLimited
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.ingest.context import ExchangeContext, Servers, open_context
from livermore_dagster.ingest.intake import (
    ask,
    first_open,
    ledger,
    no_such_symbol,
    store_absent,
    store_candles,
)
from livermore_dagster.ingest.together import together
from livermore_dagster.market.candle import Origin, Rank
from livermore_dagster.market.gaps import missing_ranges, plan_pages
from livermore_dagster.market.timeframe import Timeframe

__all__ = [
    "ExchangeContext",
    "FetchReport",
    "SeriesFetch",
    "Servers",
    "fetch_due",
    "late_series",
    "open_context",
]

RETRY_AFTER_S = (1.0, 3.0, 6.0)
"""Real seconds between looks for a bar that the stream says had trades."""
FRESH_BARS = 300
"""Bars asked for where nothing is known of a series."""
LOOK_BACK = 3
"""So many of the newest bars are asked for again, in the same request, if REST gave them early last time."""
CONCURRENCY = 8
"""Requests under way at once; the rate budget sets the pace, this only covers their latency."""


@dataclass(frozen=True, slots=True)
class SeriesFetch:
    """What became of one symbol and timeframe at a boundary."""

    symbol: str
    timeframe: Timeframe
    requests: int
    stored: int
    """Candles that became final or were revised by this fetch."""
    outcome: str
    """'closed' (the due candle is here), 'absent' (proven), 'unknown' (asked again next time), 'failed'
    (worth another try) or 'refused' (the exchange has no such symbol any more)."""
    reason: str = ""
    retry_at_ms: int = 0
    """Wall clock before which another try cannot succeed: the budget is closed."""


@dataclass(slots=True)
class FetchReport:
    boundary_ms: int
    timeframes: tuple[Timeframe, ...]
    """Those fetched: due, had by the exchange, and not streamed by it."""
    series: list[SeriesFetch] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.series)

    @property
    def stored(self) -> int:
        return sum(one.stored for one in self.series)

    def count(self, outcome: str) -> int:
        return sum(one.outcome == outcome for one in self.series)

    def counts(self) -> dict[str, int]:
        """For a log."""
        outcomes = {outcome: self.count(outcome) for outcome in ("unknown", "failed", "refused")}
        return {"requests": self.requests, "stored": self.stored, **outcomes}

    @property
    def failed(self) -> list[SeriesFetch]:
        """Series that another try may bring."""
        return [one for one in self.series if one.outcome == "failed"]

    @property
    def stays_due(self) -> bool:
        """Whether the boundary is left to the next one if nothing more can be had.

        More than half failed: the exchange is away or the budget closed, which passes. Fewer are the series'
        own trouble, may last for hours, and must not keep all others due.
        """
        return 2 * len(self.failed) > len(self.series)

    def failure(self) -> ExchangeError | None:
        """For who tries again."""
        failed = self.failed
        if not failed:
            return None
        first = failed[0]
        words = (
            f"{len(failed)} of {len(self.series)} series could not be fetched: first {first.symbol} "
            f"{first.timeframe}: {first.reason}"
        )
        closed_until_ms = max(one.retry_at_ms for one in failed)
        return RateLimited(words, closed_until_ms) if closed_until_ms else ExchangeUnavailable(words)


async def fetch_due(
    ctx: ExchangeContext,
    boundary_ms: int,
    timeframes: Sequence[Timeframe],
    symbols: Sequence[str],
    *,
    origin: Origin = Origin.BOUNDARY,
    on_progress: Callable[[int, int], None] | None = None,
    before: FetchReport | None = None,
) -> FetchReport:
    """Fetch for each symbol, in rank order, every due timeframe that is not streamed, up to `boundary_ms`.

    `before`: an earlier try at this boundary. What did not fail there is taken over and not asked for again.
    `on_progress(done, all)` after each series. A failed series is reported, never raised; only an unusable
    store ends the fetch.
    """
    started = ctx.clock.monotonic()
    # The boundary was raised because the exchange's clock had passed it by its grace.
    ctx.stopwatch.anchor(boundary_ms + ctx.quirks.grace_ms)
    streamed = ctx.row.streamed_timeframes
    wanted = tuple(tf for tf in timeframes if tf in ctx.row.timeframes and tf not in streamed)
    places = {symbol: place for place, symbol in enumerate(symbols)}
    kept = [one for one in before.series if one.outcome != "failed"] if before is not None else []
    report = FetchReport(boundary_ms, wanted, [one for one in kept if one.symbol in places])
    done = {(one.symbol, one.timeframe) for one in report.series}
    newest = {tf: await _newest(ctx, symbols, tf) for tf in wanted}
    gate = asyncio.Semaphore(CONCURRENCY)
    total = len(symbols) * len(wanted)

    async def one(symbol: str, timeframe: Timeframe) -> None:
        series = _Series(ctx, symbol, timeframe, boundary_ms, origin, gate)
        report.series.append(await series.fetch(newest[timeframe].get(symbol)))
        if on_progress is not None:
            on_progress(len(report.series), total)

    series = [(symbol, timeframe) for symbol in symbols for timeframe in wanted]
    await together(one(*each) for each in series if each not in done)
    report.series.sort(key=lambda one: (places[one.symbol], one.timeframe.ms))
    report.seconds = ctx.clock.monotonic() - started
    return report


async def late_series(
    ctx: ExchangeContext, boundary_ms: int, timeframes: Sequence[Timeframe], symbols: Sequence[str]
) -> list[tuple[str, Timeframe, int]]:
    """What a fetch left unknown though the stream saw trades: symbol, timeframe and open of the due bar."""
    found: list[tuple[str, Timeframe, int]] = []
    for timeframe in timeframes:
        due = timeframe.open_of(boundary_ms) - timeframe.ms
        newest = await _newest(ctx, symbols, timeframe)
        for symbol in symbols:
            known = newest.get(symbol)
            if (known is None or timeframe.open_of(known.open_ms) < due) and await _traded(
                ctx, symbol, timeframe, due
            ):
                found.append((symbol, timeframe, due))
    return found


async def _traded(ctx: ExchangeContext, symbol: str, timeframe: Timeframe, due: int) -> bool:
    """Whether the stream saw trades in the due bar; without a finer stream nobody knows, so: perhaps."""
    finer = [tf for tf in ctx.row.streamed_timeframes if tf.ms < timeframe.ms]
    if not finer:
        return True
    stream = max(finer, key=lambda tf: tf.ms if tf.ms <= Timeframe.M5.ms else 0)
    bars = timeframe.ms // stream.ms + 1
    seen = await ctx.cache.read(symbol, stream, bars, final_only=False, until_ms=due + timeframe.ms)
    return any(one.candle.observed and one.candle.open_ms >= due for one in seen)


class _Newest(NamedTuple):
    """Opens (ms) of a series' newest final candle, and of the oldest of the last ones not settled yet."""

    open_ms: int
    unsettled_ms: int


async def _newest(ctx: ExchangeContext, symbols: Sequence[str], timeframe: Timeframe) -> dict[str, _Newest]:
    """Of each symbol that has a final candle."""
    found: dict[str, _Newest] = {}
    for symbol, candles in (await ctx.cache.read_many(symbols, timeframe, LOOK_BACK)).items():
        if not candles:
            continue
        newest = candles[-1].candle.open_ms
        early = takewhile(lambda one: one.rank is Rank.FINAL, reversed(candles))
        unsettled = min((one.candle.open_ms for one in early), default=newest + timeframe.ms)
        found[symbol] = _Newest(newest, unsettled)
    return found


@dataclass(slots=True)
class _Series:
    """One symbol and timeframe at one boundary. `gate` lets so many requests go at once, in rank order."""

    ctx: ExchangeContext
    symbol: str
    timeframe: Timeframe
    boundary_ms: int
    origin: Origin
    gate: asyncio.Semaphore
    requests: int = 0
    stored: int = 0
    missing_ms: int = 0
    """First slot that is missing; what is asked for before it is known."""

    @property
    def end_ms(self) -> int:
        """End of the newest bucket that closed by the boundary (a backlog's 1h may have ended before it)."""
        return self.timeframe.open_of(self.boundary_ms)

    async def fetch(self, newest: _Newest | None) -> SeriesFetch:
        try:
            return await self._fetch(newest)
        except RateLimited as closed:
            return replace(self._done("failed", closed.message), retry_at_ms=closed.retry_at_ms)
        except ExchangeError as error:
            return self._done("refused" if no_such_symbol(error) else "failed", error.message)

    async def _fetch(self, newest: _Newest | None) -> SeriesFetch:
        ctx, timeframe = self.ctx, self.timeframe
        due = self.end_ms - timeframe.ms
        async with self.gate:
            start = self.missing_ms = await self._start(newest)
            if start > due:
                return self._done("closed")
            asked = await ledger(ctx, self.symbol, timeframe)
            missing = missing_ranges((), asked, start, self.end_ms, timeframe)
            if not missing:
                return self._done("absent")
            if newest is not None:
                missing = [(min(start, timeframe.open_of(newest.unsettled_ms)), start), *missing]
            pages = plan_pages(missing, timeframe, ctx.quirks.rest_rows - 1)
            outcome = "absent"
            for page in pages:
                outcome = await self._ask(page)
        for delay in RETRY_AFTER_S:
            if outcome != "unknown" or not await _traded(ctx, self.symbol, timeframe, due):
                break
            await ctx.clock.sleep(delay)
            async with self.gate:
                outcome = await self._ask((due, self.end_ms))
        return self._done(outcome, "the due row was not in the reply" if outcome == "unknown" else "")

    async def _start(self, newest: _Newest | None) -> int:
        """First slot that is missing: after the newest final candle, never before the listing."""
        if newest is not None:
            return self.timeframe.open_of(newest.open_ms) + self.timeframe.ms
        first = await first_open(self.ctx, self.symbol, self.timeframe)
        start = self.end_ms - FRESH_BARS * self.timeframe.ms
        return start if first is None else max(start, self.timeframe.open_of(first))

    async def _ask(self, page: tuple[int, int]) -> str:
        """One request; what became of the page's last slot."""
        ctx, timeframe = self.ctx, self.timeframe
        self.requests += 1
        reply = await ask(ctx, self.symbol, timeframe, page, Priority.BOUNDARY, self.origin)
        due = self.end_ms - timeframe.ms
        here = any(timeframe.open_of(candle.candle.open_ms) == due for candle in reply.candles)
        proven = not here and reply.newest_ms >= self.end_ms
        proven = proven and not await _traded(ctx, self.symbol, timeframe, due)
        # Time alone does not prove the newest bar absent: exchanges are late with it at times.
        sure = self.end_ms if proven else due
        first = self.missing_ms
        absent = [
            (s, tf, max(a, first), min(b, sure))
            for s, tf, a, b in reply.effects.absent
            if a < sure and b > first
        ]
        # The ledger first: who folds the candles then knows which bars before them are absent.
        await store_absent(ctx, absent, reply.asked_ms)
        self.stored += await store_candles(ctx, reply.candles)
        if here:
            return "closed"
        return "absent" if proven or page[1] < self.end_ms else "unknown"

    def _done(self, outcome: str, reason: str = "") -> SeriesFetch:
        return SeriesFetch(self.symbol, self.timeframe, self.requests, self.stored, outcome, reason)
