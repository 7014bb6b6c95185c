"""Audits of candles at rest that need no request: no gaps beyond the ledger, sound values, fresh."""

from __future__ import annotations

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.series_sync import WINDOW_BARS, find_gaps, settled_until, sync_from_cache
from livermore_dagster.audit.verdict import Row, Verdict
from livermore_dagster.market.moments import utc_text
from livermore_dagster.stores.postgres.soundness import judge_candles

__all__ = ["fresh", "no_gaps", "sane"]


async def no_gaps(cell: Cell, from_ms: int) -> Verdict:
    """Every bar that opens at or after `from_ms` is stored, or proven absent by REST."""
    gaps = await find_gaps(cell, cell.judged, from_ms)
    if gaps:
        # What the store writer has not come to yet is late, and no gap.
        await sync_from_cache(cell, WINDOW_BARS)
        gaps = await find_gaps(cell, list(gaps), from_ms)
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
        "unsound candles": len(rows),
    }
    return Verdict(not rows, numbers, rows=rows)


async def fresh(cell: Cell) -> Verdict:
    """Some symbol always trades: the newest candle of all is the due one, or the bar before while it is
    proven."""
    await sync_from_cache(cell, 2)
    newest = await cell.ctx.table.newest(cell.ctx.row.id, cell.judged, cell.timeframe)
    step = cell.timeframe.ms
    due_ms = cell.timeframe.open_of(await settled_until(cell)) - step
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
    return Verdict(least is not None and least <= 1, numbers, "behind", rows)
