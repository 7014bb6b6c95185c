"""What a run's cell is: one exchange and timeframe, the boundary it is brought up to, and its symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.cells import open_cell
from livermore_dagster.audit.verdict import Row
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.market_now import market_now
from livermore_dagster.resources import BOUNDARY_TAG, DUE_TAG
from livermore_dagster.stores.redis.boundaries import run_lives

__all__ = ["OWNERS", "cell_of", "exchange_of", "table"]

OWNERS = ["team:livermore"]


def exchange_of(
    context: dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> str:
    """The run's partition; '' for a run without one."""
    return context.run.tags.get("dagster/partition", "")


async def cell_of(ctx: ExchangeContext, timeframe: Timeframe, tags: Mapping[str, str]) -> Cell:
    """The cell of a run with `tags`: up to its boundary, or by hand up to the newest closed candle.

    Each step of a boundary's run begins here, and is a sign that it lives.
    """
    stated = tags.get(BOUNDARY_TAG)
    boundary = int(stated) if stated is not None else None
    if boundary is not None and DUE_TAG in tags:
        await run_lives(ctx.redis, ctx.row.id, boundary)
    return await open_cell(ctx, timeframe, boundary, market_now(Settings.discover()))


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
