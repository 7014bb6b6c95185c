"""How a cell comes about: what it may be asked for, and up to which boundary."""

from __future__ import annotations

import json
from typing import Any, cast

from livermore_dagster.audit.cell import Cell, MarketNow
from livermore_dagster.control.status import InstanceStatus, living_status
from livermore_dagster.errors import UnsupportedTimeframe, UsageError
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.symbols import resolve_monitored
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.desired import Desired, read_desired

__all__ = ["instance_of", "monitored_symbols", "newest_boundary", "open_cell", "require_timeframe"]


def require_timeframe(ctx: ExchangeContext, timeframe: Timeframe) -> None:
    """Raises for a cell the exchange does not have (R6): never served by deriving it from another."""
    if timeframe not in ctx.row.timeframes:
        raise UnsupportedTimeframe(timeframe.value, ctx.row.name, [tf.value for tf in ctx.row.timeframes])
    if timeframe not in ctx.row.live_timeframes:
        streamed = ", ".join(tf.value for tf in ctx.row.streamed_timeframes)
        raise UsageError(
            f"{ctx.row.name} does not stream {timeframe.value} candles, and what is not streamed is fetched "
            "only at 15m boundaries.",
            f"Streamed there: {streamed}. For history: livermore backfill {ctx.row.name} "
            f"--timeframes {timeframe.value}.",
        )


async def open_cell(
    ctx: ExchangeContext,
    timeframe: Timeframe,
    boundary_ms: int | None = None,
    market: MarketNow | None = None,
) -> Cell:
    """The cell at `boundary_ms`, or where none is given, by hand at the newest closed candle."""
    require_timeframe(ctx, timeframe)
    symbols = await monitored_symbols(ctx)
    boundary = await newest_boundary(ctx, timeframe) if boundary_ms is None else boundary_ms
    return Cell(ctx, timeframe, symbols, boundary, boundary_ms is None, await _warming(ctx), market)


async def instance_of(ctx: ExchangeContext) -> InstanceStatus | None:
    """Of the exchange's registered instance, idle or not."""
    return living_status(await ctx.redis.get(keys.status(ctx.row.id)))


async def _warming(ctx: ExchangeContext) -> frozenset[str]:
    """Of the running instance; what one that has stopped or pauses left unfinished nobody is fetching."""
    instance = await instance_of(ctx)
    if instance is None or not instance.running or instance.paused:
        return frozenset()
    return frozenset(await cast("Any", ctx.redis.smembers(keys.warming(ctx.row.id))))


async def newest_boundary(ctx: ExchangeContext, timeframe: Timeframe) -> int:
    """End of the newest closed candle: by what has settled where candles flow, else by REST's time."""
    instance = await instance_of(ctx)
    if instance is not None and instance.flowing:
        settled = await ctx.redis.get(keys.settled(ctx.row.id))
        if settled:
            return timeframe.open_of(int(settled))
    return timeframe.open_of(await ctx.exchange_now(Priority.REPAIR))


async def monitored_symbols(ctx: ExchangeContext) -> list[str]:
    """Symbols the running instance monitors, in rank order; without one, those it would."""
    text = await ctx.redis.get(keys.monitored(ctx.row.id))
    if text:
        return [str(symbol) for symbol in json.loads(text)]
    desired = await read_desired(ctx.redis, ctx.row.id)
    return (await resolve_monitored(ctx, desired or Desired("idle"))).ids
