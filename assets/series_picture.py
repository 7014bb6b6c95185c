"""The picture of a cell's most liquid symbol: its newest candles, and MACD-V as batch computes it of them."""

from __future__ import annotations

import dagster as dg

from assets.pictures import Bar, picture_markdown
from livermore_dagster.audit.cell import Cell
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.series_macdv import FORGET_BARS, macdv_points

__all__ = ["picture_of"]

SHOWN_BARS = 120


async def picture_of(cell: Cell) -> dg.MarkdownMetadataValue:
    """Candles from PostgreSQL up to the boundary; where there are too few for MACD-V the panel says so.

    Computed and not read: after a fresh start few values are stored, and history is to be seen at once.
    """
    if not cell.symbols:
        return dg.MetadataValue.md(f"{cell.ctx.row.display_name} monitors no symbol.")
    symbol, exchange_id = cell.symbols[0], cell.ctx.row.id
    held = await cell.ctx.table.read(
        exchange_id, symbol, cell.timeframe, 0, cell.boundary_ms, SHOWN_BARS + FORGET_BARS, newest=True
    )
    values = {point.open_ms: point for point in macdv_points(held, cell.timeframe) if point.publishable}
    candles = held[-SHOWN_BARS:]
    bars = []
    for one in candles:
        row = values.get(one.candle.open_ms)
        bars.append(
            Bar(
                one.candle.open_ms,
                float(one.candle.open),
                float(one.candle.high),
                float(one.candle.low),
                float(one.candle.close),
                row.macdv if row else None,
                row.signal if row else None,
            )
        )
    until = (
        f"{utc_text(candles[0].candle.open_ms)} to {utc_text(candles[-1].candle.open_ms)} UTC"
        if candles
        else ""
    )
    title = f"{symbol} {cell.timeframe.value} on {cell.ctx.row.display_name}"
    return dg.MetadataValue.md(picture_markdown(title, bars, until))
