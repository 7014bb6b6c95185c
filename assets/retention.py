"""Asset `retention`: at each day's boundary, what is older than it is kept for leaves (P16)."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.cells import OWNERS, cell_of, exchange_of, table
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.verdict import Row
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.retention import Kept, Records, cutoff_ms
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.resources import EXCHANGES, ExchangeResource
from livermore_dagster.stores.postgres.retention import delete_before, delete_records_before, read_retention

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
        "of each UTC day by the exchange's clock; and, of all exchanges, what users were told of alerts and "
        "past commands. `livermore retention` shows and sets the days."
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
    timeframes = await _trim_candles(cell, kept)
    records = await _trim_records(ctx, kept)
    return {
        "exchange": ctx.row.display_name,
        "boundary": dg.MetadataValue.timestamp(cell.boundary_ms / 1000),
        "candles deleted": sum(int(row["candles deleted"] or 0) for row in timeframes),
        "records deleted": sum(int(row["deleted"] or 0) for row in records),
        "timeframes": table(timeframes),
        "records": table(records),
    }


async def _trim_candles(cell: Cell, kept: Mapping[Kept, int | None]) -> list[Row]:
    rows: list[Row] = []
    for timeframe in TIMEFRAMES:
        before_ms = cutoff_ms(kept[timeframe], cell.boundary_ms)
        deleted, symbols = 0, set[str]()
        if before_ms is not None:
            async for symbol, count in delete_before(cell.ctx.pool, cell.ctx.row.id, timeframe, before_ms):
                deleted += count
                symbols.add(symbol)
        rows.append(
            {
                "timeframe": timeframe.value,
                "kept (days)": kept[timeframe],
                "kept from (UTC)": _beginning(before_ms),
                "candles deleted": deleted,
                "series shortened": len(symbols),
            }
        )
    return rows


async def _trim_records(ctx: ExchangeContext, kept: Mapping[Kept, int | None]) -> list[Row]:
    """Of all exchanges, whichever's day has ended: these are stamped by the wall's clock."""
    rows: list[Row] = []
    for records in Records:
        before_ms = cutoff_ms(kept[records], ctx.clock.now_ms())
        deleted = 0 if before_ms is None else await delete_records_before(ctx.pool, records, before_ms)
        rows.append(
            {
                "records": records.value,
                "kept (days)": kept[records],
                "kept from (UTC)": _beginning(before_ms),
                "deleted": deleted,
            }
        )
    return rows


def _beginning(before_ms: int | None) -> str:
    return utc_text(before_ms) if before_ms is not None else "the beginning"
