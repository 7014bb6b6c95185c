"""Audit of MACD-V: what was computed live equals a recomputation over the candles at rest (S11)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.cells import instance_of
from livermore_dagster.audit.series_lead import find_lead
from livermore_dagster.audit.series_sync import settled_until, sync_from_cache
from livermore_dagster.audit.verdict import Row, Verdict
from livermore_dagster.ingest.selection import signal_timeframes
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.series_macdv import columns_of
from livermore_dagster.market.stages import stage_of
from livermore_dagster.stores.postgres.indicators import StoredIndicator, read_indicators, stored_indicator
from livermore_dagster.stores.redis.candle_cache import CACHE_SIZE
from livermore_dagster.stores.redis.indicator_cache import IndicatorCache

__all__ = ["live_equals_batch"]

TOLERANCE = 1e-6
"""Points of MACD-V; the two ways of adding differ by rounding only."""
FOLDED_S: Final = 3.0
"""Real seconds in which a revision just stored, by an audit too, is folded."""
_VALUES: Final = ("macdv", "signal", "histogram")


@dataclass(slots=True)
class _Found:
    live: int = 0
    compared: int = 0
    not_judged: int = 0
    worst: float = 0.0
    rows: list[Row] = field(default_factory=list)

    def add(self, other: _Found) -> None:
        self.live += other.live
        self.compared += other.compared
        self.not_judged += other.not_judged
        self.worst = max(self.worst, other.worst)
        self.rows += other.rows


async def live_equals_batch(cell: Cell, from_ms: int) -> Verdict:
    """Live values of bars that open at or after `from_ms`, or that there are none, recomputed from the same
    seed_open, or from as many observed bars before them as forget it. Where neither is held they are not
    judged.

    An instance that runs and has computed nothing at all of bars that closed does not pass.
    """
    # What the store writer has not come to yet is late, and no difference.
    bars = (cell.boundary_ms - from_ms) // cell.timeframe.ms + 1
    await sync_from_cache(cell, min(CACHE_SIZE, bars))
    by_symbol = {symbol: await _judge_series(cell, symbol, from_ms) for symbol in cell.judged}
    wrong = [symbol for symbol, one in by_symbol.items() if one.rows]
    if wrong:
        await cell.ctx.clock.sleep(FOLDED_S)
        by_symbol |= {symbol: await _judge_series(cell, symbol, from_ms) for symbol in wrong}
    found = _Found()
    for one in by_symbol.values():
        found.add(one)
    numbers: dict[str, str | int] = {
        "live values compared": found.compared,
        "not judged (seed not held)": found.not_judged,
        "largest difference (points)": f"{found.worst:.3g}",
        "tolerance (points)": f"{TOLERANCE:g}",
        "values that differ": len(found.rows),
    }
    if not found.live and (silent := await _silent_symbol(cell, from_ms)):
        numbers["computed nothing"] = f"{silent} traded, and no value of any symbol was stored"
        return Verdict(False, numbers)
    return Verdict(not found.rows, numbers, rows=found.rows)


async def _judge_series(cell: Cell, symbol: str, from_ms: int) -> _Found:
    until_ms = cell.newest_open_ms + 1  # candles that close meanwhile may not have come to the table yet
    async with cell.ctx.pool.connection() as connection:
        stored = await read_indicators(
            connection, cell.ctx.row.id, symbol, cell.timeframe, from_ms, until_ms, limit=None
        )
    live = [row for row in stored if row.source == "live"]
    if not live:
        return _Found()
    # A re-seeded series is judged from its newest seed on.
    seed_ms = live[-1].seed_open_ms
    ours = [row for row in live if row.seed_open_ms == seed_ms]
    again = await _recomputed(cell, symbol, seed_ms, ours)
    if again is None:
        return _Found(live=len(live), not_judged=len(live))
    found = _Found(live=len(live), compared=len(ours), not_judged=len(live) - len(ours))
    for row in ours:
        name, off = _difference(row, again.get(row.open_ms))
        found.worst = max(found.worst, off)
        if off > TOLERANCE:
            found.rows.append(_row(symbol, name, row, again.get(row.open_ms), off))
    return found


async def _recomputed(
    cell: Cell, symbol: str, seed_ms: int, rows: Sequence[StoredIndicator]
) -> dict[int, StoredIndicator] | None:
    """By open; None where neither the seed nor enough to forget it is held."""
    exchange_id, timeframe, table = cell.ctx.row.id, cell.timeframe, cell.ctx.table
    if seed_ms < 0:
        return None
    lead = await find_lead(cell, symbol, rows[0].open_ms, seed_ms)
    if not lead.complete and lead.start_ms != seed_ms:
        return None
    candles = await table.read(exchange_id, symbol, timeframe, lead.start_ms, rows[-1].open_ms + 1)
    if not lead.complete and (not candles or candles[0].candle.open_ms != seed_ms):
        return None
    columns = columns_of(candles, timeframe)
    wanted = {row.open_ms for row in rows}
    return {
        one.candle.open_ms: stored_indicator(columns.point(index), "batch")
        for index, one in enumerate(candles)
        if one.candle.open_ms in wanted
    }


def _difference(live: StoredIndicator, again: StoredIndicator | None) -> tuple[str, float]:
    """Name of the field that differs most, and by how much; what only one of them has, by infinity."""
    if again is None:
        return "candle", math.inf
    off = {name: _distance(getattr(live, name), getattr(again, name)) for name in _VALUES}
    worst = max(_VALUES, key=lambda name: off[name])
    # On the edge of a stage rounding decides: then the stage is that of the live values themselves.
    if off[worst] <= TOLERANCE and live.stage not in (again.stage, stage_of(live.macdv, live.signal).value):
        return "stage", math.inf
    return worst, off[worst]


def _distance(live: float | None, again: float | None) -> float:
    if live is None or again is None:
        return 0.0 if live is again else math.inf
    return abs(live - again)


def _row(symbol: str, name: str, live: StoredIndicator, again: StoredIndicator | None, off: float) -> Row:
    return {
        "symbol": symbol,
        "open (UTC)": utc_text(live.open_ms),
        "field": name,
        "live": live.macdv if again is None else getattr(live, name),
        "recomputed": None if again is None else getattr(again, name),
        "difference": off if math.isfinite(off) else None,
    }


async def _silent_symbol(cell: Cell, from_ms: int) -> str | None:
    """One that was warm, and computed, when bars closed in which it traded, of an instance that computes this
    timeframe."""
    ctx, timeframe = cell.ctx, cell.timeframe
    instance = await instance_of(ctx)
    if instance is None or not instance.flowing or timeframe not in await signal_timeframes(ctx):
        return None
    series = [(symbol, timeframe) for symbol in cell.judged]
    computed = await IndicatorCache(ctx.redis, ctx.row.id).news_from(series)
    # The newest may still be waited for.
    end_ms = timeframe.open_of(await settled_until(cell)) - timeframe.ms
    for (symbol, _), since_ms in computed.items():
        begin_ms = max(from_ms, since_ms)
        candles = await ctx.table.read(ctx.row.id, symbol, timeframe, begin_ms, end_ms)
        if any(one.candle.observed for one in candles):
            return symbol
    return None
