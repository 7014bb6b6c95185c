"""The picture of a cell's most liquid symbol: its newest candles, and MACD-V as stored."""

from __future__ import annotations

import dagster as dg

from assets.cells import Cell, utc
from assets.pictures import Bar, picture_markdown
from livermore_dagster.stores.postgres.indicators import read_indicators

__all__ = ["picture_of"]

SHOWN_BARS = 120


async def picture_of(cell: Cell) -> dg.MarkdownMetadataValue:
    """Candles from PostgreSQL up to the boundary; where MACD-V was not computed the panel says so."""
    if not cell.symbols:
        return dg.MetadataValue.md(f"{cell.ctx.row.display_name} monitors no symbol.")
    symbol, exchange_id = cell.symbols[0], cell.ctx.row.id
    candles = await cell.ctx.table.read(
        exchange_id, symbol, cell.timeframe, 0, cell.boundary_ms, SHOWN_BARS, newest=True
    )
    from_ms = candles[0].candle.open_ms if candles else cell.boundary_ms
    async with cell.ctx.pool.connection() as connection:
        rows = await read_indicators(connection, exchange_id, symbol, cell.timeframe, from_ms, limit=None)
    values = {row.open_ms: row for row in rows}
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
    until = f"{utc(candles[0].candle.open_ms)} to {utc(candles[-1].candle.open_ms)} UTC" if candles else ""
    title = f"{symbol} {cell.timeframe.value} on {cell.ctx.row.display_name}"
    return dg.MetadataValue.md(picture_markdown(title, bars, until))
