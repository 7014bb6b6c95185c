"""Audit of MACD-V: what was computed live equals a recomputation over the candles at rest (S11)."""

from __future__ import annotations

import math

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.verdict import Row, Verdict
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.series_macdv import FORGET_BARS, columns_of
from livermore_dagster.stores.postgres.indicators import StoredIndicator, read_indicators

__all__ = ["live_equals_batch"]

TOLERANCE = 1e-6
"""Points of MACD-V; the two ways of adding differ by rounding only."""
LONGEST = 3_000
"""Bars read before the judged window at most: far beyond what any seed is felt."""


async def live_equals_batch(cell: Cell, from_ms: int) -> Verdict:
    """Live values of bars that open at or after `from_ms`, recomputed from the same seed_open; where the seed
    lies beyond LONGEST bars, from a seed long forgotten."""
    worst, compared = 0.0, 0
    rows: list[Row] = []
    for symbol in cell.judged:
        for live, again in await _pairs(cell, symbol, from_ms):
            compared += 1
            off = _difference(live.macdv, again)
            worst = max(worst, off)
            if off > TOLERANCE:
                rows.append(
                    {
                        "symbol": symbol,
                        "open (UTC)": utc_text(live.open_ms),
                        "live": live.macdv,
                        "recomputed": again,
                        "difference": off if math.isfinite(off) else None,
                    }
                )
    numbers: dict[str, str | int] = {
        "live values compared": compared,
        "largest difference (points)": f"{worst:.3g}",
        "tolerance (points)": f"{TOLERANCE:g}",
        "values that differ": len(rows),
    }
    return Verdict(not rows, numbers, rows=rows)


async def _pairs(cell: Cell, symbol: str, from_ms: int) -> list[tuple[StoredIndicator, float | None]]:
    exchange_id, step = cell.ctx.row.id, cell.timeframe.ms
    async with cell.ctx.pool.connection() as connection:
        stored = await read_indicators(connection, exchange_id, symbol, cell.timeframe, from_ms, limit=None)
    live = [row for row in stored if row.source == "live" and row.macdv is not None]
    if not live:
        return []
    # A re-seeded series is judged from its newest seed on.
    seed_ms = live[-1].seed_open_ms
    live = [row for row in live if row.seed_open_ms == seed_ms]
    start_ms = max(seed_ms, from_ms - LONGEST * step)
    end_ms = live[-1].open_ms + step
    # Some exchanges' candles stand off the grid after an outage: there may be more of them than buckets.
    bars = 2 * (end_ms - start_ms) // step + 1
    candles = await cell.ctx.table.read(exchange_id, symbol, cell.timeframe, start_ms, end_ms, bars)
    columns = columns_of(candles, cell.timeframe)
    again = {
        one.candle.open_ms: columns.point(index).macdv
        for index, one in enumerate(candles)
        if one.candle.open_ms >= from_ms and (start_ms == seed_ms or index >= FORGET_BARS)
    }
    return [(row, again.get(row.open_ms)) for row in live]


def _difference(live: float | None, again: float | None) -> float:
    if live is None or again is None:
        return 0.0 if live is again else math.inf
    return abs(live - again)
