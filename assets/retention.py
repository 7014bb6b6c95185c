"""Asset `retention`: at each day's boundary, candles older than they are kept for leave (P16)."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.cells import OWNERS, cell_of, exchange_of, table
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.verdict import Row
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.retention import cutoff_ms
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.resources import EXCHANGES, ExchangeResource
from livermore_dagster.stores.postgres.retention import delete_before, read_retention

__all__ = ["retention_asset"]


@dg.asset(
    key=["retention"],
    deps=[dg.AssetKey(["candles", Timeframe.D1.value])],
    partitions_def=EXCHANGES,
    group_name="retention",
    kinds={"postgres"},
    owners=OWNERS,
    code_version="1",
    # After everything a boundary is waited for.
    op_tags={"dagster/priority": "-80"},
    description=(
        "Deletes candles, indicators and ledger entries older than their timeframe is kept for, at the end "
        "of each UTC day by the exchange's clock. `livermore retention` shows and sets the days."
    ),
)
def retention_asset(
    context: dg.AssetExecutionContext, exchange: ExchangeResource
) -> dg.MaterializeResult[Any]:
    """One row per timeframe; deletes are short transactions, so a run that dies midway has lost nothing."""

    async def work(ctx: ExchangeContext) -> Mapping[str, Any]:
        return await _trim(await cell_of(ctx, Timeframe.D1, context.run.tags))

    return dg.MaterializeResult(metadata=exchange.use(exchange_of(context), work))


async def _trim(cell: Cell) -> Mapping[str, Any]:
    ctx = cell.ctx
    async with ctx.pool.connection() as connection:
        kept = await read_retention(connection)
    rows: list[Row] = []
    for timeframe in TIMEFRAMES:
        before_ms = cutoff_ms(kept[timeframe], cell.boundary_ms)
        deleted, symbols = 0, set[str]()
        if before_ms is not None:
            async for symbol, count in delete_before(ctx.pool, ctx.row.id, timeframe, before_ms):
                deleted += count
                symbols.add(symbol)
        rows.append(
            {
                "timeframe": timeframe.value,
                "kept (days)": kept[timeframe],
                "kept from (UTC)": utc_text(before_ms) if before_ms is not None else "the beginning",
                "candles deleted": deleted,
                "series shortened": len(symbols),
            }
        )
    return {
        "exchange": ctx.row.display_name,
        "boundary": dg.MetadataValue.timestamp(cell.boundary_ms / 1000),
        "candles deleted": sum(int(row["candles deleted"] or 0) for row in rows),
        "timeframes": table(rows),
    }
