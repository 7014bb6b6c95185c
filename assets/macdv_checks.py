"""Check of `macdv/<timeframe>`: what was computed live equals a recomputation over the candles at rest
(S11)."""

from __future__ import annotations

import math

import dagster as dg

from assets.cells import Cell, Row, table, utc
from assets.checks import Verdict, build_checks
from assets.series_macdv import FORGET_BARS, columns_of
from livermore_dagster.market.timeframe import TIMEFRAMES
from livermore_dagster.stores.postgres.indicators import StoredIndicator, read_indicators

__all__ = ["live_equals_batch", "macdv_checks"]

COMPARED_BARS = 30
TOLERANCE = 1e-6
"""Points of MACD-V; the two ways of adding differ by rounding only."""
LONGEST = 3_000
"""Bars read at most: far beyond what any seed is felt."""


async def live_equals_batch(cell: Cell) -> Verdict:
    """Recompute from the same seed_open; where the seed lies beyond LONGEST bars, from a seed long
    forgotten."""
    worst, compared = 0.0, 0
    rows: list[Row] = []
    for symbol in cell.symbols:
        for live, again in await _pairs(cell, symbol):
            compared += 1
            off = _difference(live.macdv, again)
            worst = max(worst, off)
            if off > TOLERANCE:
                rows.append(
                    {
                        "symbol": symbol,
                        "open (UTC)": utc(live.open_ms),
                        "live": live.macdv,
                        "recomputed": again,
                        "difference": off if math.isfinite(off) else None,
                    }
                )
    return not rows, {
        "live values compared": compared,
        "largest difference (points)": f"{worst:.3g}",
        "tolerance (points)": f"{TOLERANCE:g}",
        "values that differ": len(rows),
        "first 50": table(rows[:50]),
    }


async def _pairs(cell: Cell, symbol: str) -> list[tuple[StoredIndicator, float | None]]:
    exchange_id, step = cell.ctx.row.id, cell.timeframe.ms
    from_ms = cell.newest_open_ms - COMPARED_BARS * step
    async with cell.ctx.pool.connection() as connection:
        stored = await read_indicators(connection, exchange_id, symbol, cell.timeframe, from_ms, limit=None)
    live = [row for row in stored if row.source == "live" and row.macdv is not None]
    if not live:
        return []
    # A re-seeded series is judged from its newest seed on.
    seed_ms = live[-1].seed_open_ms
    live = [row for row in live if row.seed_open_ms == seed_ms]
    start_ms = max(seed_ms, from_ms - LONGEST * step)
    candles = await cell.ctx.table.read(
        exchange_id, symbol, cell.timeframe, start_ms, live[-1].open_ms + step, LONGEST + COMPARED_BARS
    )
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


def macdv_checks() -> list[dg.AssetChecksDefinition]:
    """One op per timeframe."""
    described = "values computed live equal a recomputation over PostgreSQL from the same seed."
    return [
        build_checks("macdv", timeframe, {"live_equals_batch": (live_equals_batch, described)})
        for timeframe in TIMEFRAMES
    ]
