"""Assets `macdv/<timeframe>`: MACD-V at rest, recomputed in batch wherever the live service never ran."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.candles import BOUNDARY_BARS
from assets.cells import OWNERS, cell_of, exchange_of, table
from assets.series_picture import picture_of
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.cells import instance_of
from livermore_dagster.audit.series_lead import find_lead
from livermore_dagster.audit.series_sync import WINDOW_BARS
from livermore_dagster.audit.verdict import Row
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.macdv import FORMULA, MacdvPoint
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.series_macdv import columns_of
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.resources import EXCHANGES, ExchangeResource
from livermore_dagster.stores.postgres.indicators import (
    IndicatorRow,
    read_indicators,
    stored_indicator,
    upsert_indicators,
)

__all__ = ["macdv_assets"]


def macdv_assets() -> list[dg.AssetsDefinition]:
    """One asset per timeframe."""
    return [_macdv(timeframe) for timeframe in TIMEFRAMES]


def _macdv(timeframe: Timeframe) -> dg.AssetsDefinition:
    @dg.asset(
        key=["macdv", timeframe.value],
        deps=[dg.AssetKey(["candles", timeframe.value])],
        partitions_def=EXCHANGES,
        group_name="macdv",
        kinds={"postgres", "python"},
        owners=OWNERS,
        code_version=str(FORMULA),
        tags={"timeframe": timeframe.value},
        op_tags={"dagster/priority": str(-TIMEFRAMES.index(timeframe))},
        description=(
            f"MACD-V of {timeframe.value} candles: (EMA12 − EMA26 of close) / ATR26 × 100, its EMA9 "
            f"signal and "
            "their difference, in hundredths of an average true range. The live service stores a "
            "value at every "
            "close; this fills in what it never computed and leaves its values alone."
        ),
    )
    def macdv(context: dg.AssetExecutionContext, exchange: ExchangeResource) -> dg.MaterializeResult[Any]:
        async def work(ctx: ExchangeContext) -> Mapping[str, Any]:
            return await _fill(await cell_of(ctx, timeframe, context.run.tags))

        return dg.MaterializeResult(metadata=exchange.use(exchange_of(context), work))

    return macdv


async def _fill(cell: Cell) -> Mapping[str, Any]:
    keep = WINDOW_BARS if cell.by_hand else BOUNDARY_BARS
    # What closed a moment ago is the live service's to compute, as long as there is one.
    instance = await instance_of(cell.ctx)
    live = instance is not None and instance.flowing
    until_ms = cell.newest_open_ms if live else cell.boundary_ms
    added, rows = 0, list[Row]()
    for symbol in cell.symbols:
        own, row = await _fill_series(cell, symbol, keep, until_ms)
        added += own
        rows.append(row)
    return {
        "exchange": cell.ctx.row.display_name,
        "picture": await picture_of(cell),
        "boundary": dg.MetadataValue.timestamp(cell.boundary_ms / 1000),
        "values added in batch": added,
        "symbols with a value": sum(row["MACD-V"] is not None for row in rows),
        "formula": FORMULA,
        "symbols": table(rows),
    }


async def _fill_series(cell: Cell, symbol: str, keep: int, until_ms: int) -> tuple[int, Row]:
    """Values added, and the symbol's row of the table."""
    exchange_id = cell.ctx.row.id
    from_ms = cell.newest_open_ms - keep * cell.timeframe.ms
    window = await cell.ctx.table.read(exchange_id, symbol, cell.timeframe, from_ms, cell.boundary_ms)
    async with cell.ctx.pool.connection() as connection:
        held = await read_indicators(connection, exchange_id, symbol, cell.timeframe, from_ms, limit=None)
        stored = {row.open_ms: row for row in held}
        # By hand also what was computed of a history that was short then, and may be longer now.
        known = {row.open_ms for row in held if not (cell.by_hand and row.source == "batch" and row.warming)}
        missing = {
            one.candle.open_ms
            for one in window
            if one.candle.observed and one.candle.open_ms < until_ms and one.candle.open_ms not in known
        }
        points = await _points(cell, symbol, window, missing) if missing else []
        found = [one for one in points if stored_indicator(one, "batch") != stored.get(one.open_ms)]
        rows = [IndicatorRow(symbol, cell.timeframe, point) for point in found]
        added = await upsert_indicators(connection, exchange_id, rows, "batch")
    rows_now = [*(stored_indicator(point, "batch") for point in found), *held]
    newest = max(rows_now, key=lambda row: row.open_ms, default=None)
    return added, {
        "symbol": symbol,
        "bar (UTC)": utc_text(newest.open_ms) if newest else "",
        "MACD-V": _shown(newest.macdv if newest else None),
        "signal": _shown(newest.signal if newest else None),
        "stage": newest.stage if newest else "unknown",
        "observed bars": newest.n_eff if newest else 0,
        "warming": "yes" if newest and newest.warming else "",
        "source": newest.source if newest else "",
        "reason": (newest.reason or "") if newest else "No candles",
        "added": added,
    }


async def _points(
    cell: Cell, symbol: str, window: Sequence[StampedCandle], wanted: Collection[int]
) -> list[MacdvPoint]:
    """MACD-V at the candles of `window` whose opens (ms) are `wanted`."""
    series = cell.ctx.row.id, symbol, cell.timeframe
    first_ms = window[0].candle.open_ms
    lead = await find_lead(cell, symbol, first_ms)
    candles = [*await cell.ctx.table.read(*series, lead.start_ms, first_ms), *window]
    columns = columns_of(candles, cell.timeframe)
    return [columns.point(index) for index, one in enumerate(candles) if one.candle.open_ms in wanted]


def _shown(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
