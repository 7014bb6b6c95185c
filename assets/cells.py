"""What a run's cell is: one exchange and timeframe, the boundary it is brought up to, and its symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.verdict import Row
from livermore_dagster.errors import UnsupportedTimeframe, UsageError
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.resources import BOUNDARY_TAG, monitored_symbols
from livermore_dagster.stores.redis import keys

__all__ = ["OWNERS", "exchange_of", "open_cell", "require_timeframe", "table"]

OWNERS = ["team:livermore"]


def exchange_of(
    context: dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> str:
    """The run's partition; '' for a run without one."""
    return context.run.tags.get("dagster/partition", "")


def require_timeframe(ctx: ExchangeContext, timeframe: Timeframe) -> None:
    """Raises for a cell the exchange does not have (R6): never served by deriving it from another."""
    if timeframe not in ctx.row.timeframes:
        raise UnsupportedTimeframe(timeframe.value, ctx.row.name, [tf.value for tf in ctx.row.timeframes])
    if timeframe.ms < Timeframe.M15.ms and timeframe not in ctx.row.streamed_timeframes:
        streamed = ", ".join(tf.value for tf in ctx.row.streamed_timeframes)
        raise UsageError(
            f"{ctx.row.name} does not stream {timeframe.value} candles, and what is not streamed is "
            f"fetched only "
            f"at 15m boundaries.",
            f"Streamed there: {streamed}. For history: livermore backfill {ctx.row.name} "
            f"--timeframes {timeframe.value}.",
        )


async def open_cell(ctx: ExchangeContext, timeframe: Timeframe, tags: Mapping[str, str]) -> Cell:
    """The cell of a run with `tags`: up to its boundary, or by hand up to the newest closed candle."""
    require_timeframe(ctx, timeframe)
    stated = tags.get(BOUNDARY_TAG)
    boundary = int(stated) if stated is not None else timeframe.open_of(await _market_now(ctx))
    return Cell(ctx, timeframe, await monitored_symbols(ctx), boundary, stated is None)


async def _market_now(ctx: ExchangeContext) -> int:
    """What the running instance has settled, without a request; else the exchange's own clock."""
    if await ctx.redis.exists(keys.status(ctx.row.id)):
        settled = await ctx.redis.get(keys.settled(ctx.row.id))
        if settled:
            return int(settled)
    return await ctx.exchange_now(Priority.REPAIR)


def table(rows: Sequence[Row]) -> dg.TableMetadataValue:
    """Rows as a table in the UI; the first row's names are the columns."""
    if not rows:
        return dg.MetadataValue.table([], schema=dg.TableSchema([]))
    kinds = {bool: "bool", int: "int", float: "float"}
    schema = dg.TableSchema(
        [
            dg.TableColumn(
                name, type=next((kinds[type(r[name])] for r in rows if type(r[name]) in kinds), "string")
            )
            for name in rows[0]
        ]
    )
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows], schema=schema)
