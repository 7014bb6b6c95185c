"""Audits of candles at rest that need no request: no gaps beyond the ledger, sound values, fresh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.series_sync import (
    WINDOW_BARS,
    find_gaps,
    flowing_settled,
    held_since,
    judged_until,
    never_held,
    sync_from_cache,
)
from livermore_dagster.audit.verdict import Row, Verdict
from livermore_dagster.market.moments import utc_text
from livermore_dagster.stores.postgres.soundness import judge_candles

__all__ = ["fresh", "no_gaps", "sane"]

SETTLED_LATE_MS: Final = 180_000
"""Of real time: as long as `livermore status` calls an exchange healthy."""
_LOOKED_AT: Final = 5


async def no_gaps(cell: Cell, from_ms: int) -> Verdict:
    """Every bar that opens at or after `from_ms`, and since the series begins here, is stored or proven
    absent by REST."""
    begins = await held_since(cell, from_ms)
    # Where no stream tells, a silent newest bar is asked for once more at the next boundary, and judged then.
    proven = cell if cell.streamed else replace(cell, boundary_ms=cell.boundary_ms - cell.timeframe.ms)
    gaps = await find_gaps(proven, cell.judged, begins)
    if gaps:
        # What the store writer has not come to yet is late, and no gap.
        await sync_from_cache(replace(cell, symbols=list(gaps)), WINDOW_BARS)
        gaps = await find_gaps(proven, list(gaps), begins)
    rows: list[Row] = [
        {
            "symbol": symbol,
            "from (UTC)": utc_text(span.from_ms),
            "to (UTC)": utc_text(span.to_ms),
            "bars": (span.to_ms - span.from_ms) // cell.timeframe.ms,
        }
        for symbol, spans in gaps.items()
        for span in spans
    ]
    missing = sum((one.to_ms - one.from_ms) // cell.timeframe.ms for spans in gaps.values() for one in spans)
    numbers: dict[str, str | int] = {
        "symbols judged": len(cell.judged),
        "symbols still warming up": len(cell.symbols) - len(cell.judged),
        "judged from (UTC)": utc_text(from_ms),
        "bars missing": missing,
    }
    if later := never_held(begins, from_ms):
        numbers["never held (UTC)"] = later
    return Verdict(not rows, numbers, "gaps", rows)


async def sane(cell: Cell, from_ms: int) -> Verdict:
    """low ≤ open, close ≤ high, prices above 0, volume not below 0; off the grid is told, not judged."""
    async with cell.ctx.pool.connection() as connection:
        found = await judge_candles(connection, cell.ctx.row.id, cell.symbols, cell.timeframe, from_ms)
    rows: list[Row] = [
        {
            "symbol": one.symbol,
            "open (UTC)": utc_text(one.open_ms),
            "open": one.open,
            "high": one.high,
            "low": one.low,
            "close": one.close,
            "volume": one.volume,
        }
        for one in found.unsound
    ]
    numbers: dict[str, str | int] = {
        "candles judged": found.judged,
        "off the UTC grid (kept as given)": found.off_grid,
        "unsound candles": found.unsound_count,
    }
    return Verdict(not rows, numbers, rows=rows)


async def fresh(cell: Cell) -> Verdict:
    """Some symbol always trades: the newest candle of all is the due one, or where no stream brings it, the
    bar before until it is fetched; and what the instance has settled keeps up with the market.

    A symbol whose bars since its newest are proven absent is up to date as well.
    """
    await sync_from_cache(cell, 2)
    newest = await cell.ctx.table.newest(cell.ctx.row.id, cell.judged, cell.timeframe)
    step = cell.timeframe.ms
    settled_ms = await flowing_settled(cell)
    due_ms = cell.timeframe.open_of(judged_until(cell, settled_ms)) - step
    behind = {symbol: max(0, due_ms - newest[symbol]) // step for symbol in newest}
    least = min(behind.values(), default=None)
    silent = {symbol: bars for symbol, bars in behind.items() if bars > 0}
    rows: list[Row] = [
        {"symbol": symbol, "newest (UTC)": utc_text(newest[symbol]), "bars behind": bars}
        for symbol, bars in sorted(silent.items(), key=lambda item: -item[1])
    ]
    numbers: dict[str, str | int] = {
        "newest candle due (UTC)": utc_text(due_ms),
        "bars the freshest symbol is behind": least if least is not None else "no candles",
        "symbols up to date": len(behind) - len(silent),
        "symbols without that candle": len(silent),
        "symbols without any": len(cell.judged) - len(behind),
    }
    allowed = 0 if cell.streamed and settled_ms is not None else 1
    passed = least is not None and (least <= allowed or await _proven_silent(cell, newest, behind, due_ms))
    if (late := _late(cell, settled_ms)) is not None:
        numbers["settled only up to (UTC)"] = late
    return Verdict(passed and late is None, numbers, "behind", rows)


async def _proven_silent(
    cell: Cell, newest: Mapping[str, int], behind: Mapping[str, int], due_ms: int
) -> bool:
    """Whether REST proved that nobody traded one of the freshest symbols since its newest candle."""
    step = cell.timeframe.ms
    for symbol in sorted(behind, key=lambda one: behind[one])[:_LOOKED_AT]:
        begin_ms = cell.timeframe.open_of(newest[symbol]) + step
        exchange_id = cell.ctx.row.id
        if not await cell.ctx.table.gaps(exchange_id, symbol, cell.timeframe, begin_ms, due_ms + step):
            return True
    return False


def _late(cell: Cell, settled_ms: int | None) -> str | None:
    """Up to when all is settled, where the market's time has left that behind: it stands still, then."""
    if settled_ms is None or cell.market is None:
        return None
    if cell.market.at_ms - settled_ms <= SETTLED_LATE_MS * cell.market.speed:
        return None
    return f"{utc_text(settled_ms)}, the market is at {utc_text(cell.market.at_ms)}"
