"""Commands about stored candles: history fetched on request, the cache emptied and filled again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final, cast

from msgspec.structs import replace

from livermore_dagster.control.commands.executor import Progress
from livermore_dagster.control.commands.message import ClearCache, Command, ForceBackfill
from livermore_dagster.errors import BadSetting, UnsupportedTimeframe
from livermore_dagster.ingest.backfill import BackfillProgress, backfill
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.intake import store_candles
from livermore_dagster.market.candle import Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.symbols import require_symbols
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CACHE_SIZE
from livermore_dagster.stores.redis.closes import backlog
from livermore_dagster.stores.redis.member import decode
from livermore_dagster.stores.redis.overview import read_monitored

__all__ = ["clear_cache", "force_backfill"]

_TELL_S: Final = 1.0
_LOOK_S: Final = 0.05
_MOST_BEHIND: Final = 10_000
"""Closes that may await their consumers: what is filled in passes them as every candle does."""
_EVER_MS: Final = 1 << 62
_FAILED_SHOWN: Final = 10

Facts = Mapping[str, Any]


async def force_backfill(ctx: ExchangeContext, command: Command, progress: Progress) -> Facts:
    """What is missing of these series since then is asked for, at lower priority than live data."""
    payload = cast("ForceBackfill", command.typed_payload())
    timeframes = payload.timeframes or ctx.timeframes()
    _require_timeframes(ctx, timeframes)
    symbols = payload.symbols or await _monitored(ctx)
    await _require_symbols(ctx, symbols)
    newest: list[BackfillProgress] = []
    work = asyncio.create_task(backfill(ctx, symbols, timeframes, payload.since_ms, newest.append))
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=_TELL_S)
            if newest:
                await progress({**asdict(newest[-1]), "series": len(symbols) * len(timeframes)})
                newest.clear()
        report = work.result()
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await work
    facts = {**asdict(report), "seconds": round(report.seconds, 1), "failed": len(report.failed)}
    return {**facts, **({"failures": report.failed[:_FAILED_SHOWN]} if report.failed else {})}


async def clear_cache(ctx: ExchangeContext, command: Command, progress: Progress, *, running: bool) -> Facts:
    """Removes the candles of the scope from Redis and fills them in again from PostgreSQL, series by series.

    Refilling goes by the cache's write rule and is history: nothing is raised by it. Indicators stay. What
    PostgreSQL lacks comes by the stream, by repair or by the next warm-up. Not `running`: the next start's
    warm-up fills all of it, from PostgreSQL first.
    """
    payload = cast("ClearCache", command.typed_payload())
    symbols, timeframes = await _scope(ctx, payload)
    if not payload.confirm:
        what = f"{len(symbols)} symbols × {len(timeframes)} timeframes of {ctx.row.name}"
        raise BadSetting(
            f"This would remove the cached candles of {what}.", 'Say so: {"confirm": true} in the payload.'
        )
    if not running:
        names = await ctx.cache.names(symbols, timeframes)
        removed = int(await ctx.redis.unlink(*names)) if names else 0
        return {"keys": removed, "note": "The next start fills them in again, from PostgreSQL first."}
    removed = filled = 0
    begun = told = ctx.clock.monotonic()
    for done, symbol in enumerate(symbols):
        for timeframe in timeframes:
            kept = await ctx.table.read(ctx.row.id, symbol, timeframe, 0, _EVER_MS, CACHE_SIZE, newest=True)
            gone, finals = await _emptied(ctx, symbol, timeframe)
            removed += gone
            # What is on its way to PostgreSQL would be missed: a final candle is written once.
            newest_ms = kept[-1].candle.open_ms if kept else -1
            waiting = [one for one in finals if one.candle.open_ms > newest_ms]
            # As a warm-up fills: what had been confirmed is not asked for again (early.left_over).
            back = [replace(one, origin=Origin.WARMUP, proven_ms=one.end_ms) for one in kept]
            back += [replace(one, origin=Origin.BACKFILL, proven_ms=one.end_ms) for one in waiting]
            filled += await store_candles(ctx, back, kept=True)
        while max((await backlog(ctx.redis, ctx.row.id)).unacknowledged.values()) > _MOST_BEHIND:
            await ctx.clock.sleep(_LOOK_S)
        if ctx.clock.monotonic() - told >= _TELL_S:
            told = ctx.clock.monotonic()
            await progress({"symbols_done": done + 1, "symbols_total": len(symbols), "candles": filled})
    return {"keys": removed, "candles": filled, "seconds": round(ctx.clock.monotonic() - begun, 1)}


async def _emptied(
    ctx: ExchangeContext, symbol: str, timeframe: Timeframe
) -> tuple[int, list[StampedCandle]]:
    """Removes a series from the cache at one instant: how many keys, and the final candles of them."""
    names = await ctx.cache.names((symbol,), (timeframe,))
    async with ctx.redis.pipeline(transaction=True) as pipe:
        for name in names:
            pipe.zrange(name, 0, -1)
        pipe.unlink(*names)
        *contents, gone = await pipe.execute()
    found = {
        one.candle.open_ms: one
        for members in contents
        for one in (decode(member, symbol, timeframe) for member in members)
        if one.rank is not Rank.OPEN
    }
    return int(gone), [found[open_ms] for open_ms in sorted(found)]


async def _scope(ctx: ExchangeContext, payload: ClearCache) -> tuple[Sequence[str], Sequence[Timeframe]]:
    given = {"symbol": payload.symbol, "timeframe": payload.timeframe}
    for name, value in given.items():
        if (value is not None) != (payload.scope == name):
            verb = "needs a" if value is None else "takes no"
            raise BadSetting(f"Scope {payload.scope!r} {verb} {name}.", "Scopes: all, symbol, timeframe.")
    if payload.symbol is not None:
        await _require_symbols(ctx, (payload.symbol,))
        return (payload.symbol,), ctx.timeframes()
    if payload.timeframe is not None:
        _require_timeframes(ctx, (payload.timeframe,))
        return await _cached(ctx), (payload.timeframe,)
    return await _cached(ctx), ctx.timeframes()


async def _cached(ctx: ExchangeContext) -> list[str]:
    """Symbols with candles in the cache, monitored or not."""
    prefix = keys.candles(ctx.row.id, "*", Timeframe.M1).removesuffix(f"*:{Timeframe.M1.value}")
    found = {
        str(key).removeprefix(prefix).rpartition(":")[0]
        async for key in ctx.redis.scan_iter(match=f"{prefix}*", count=1_000)
    }
    return sorted(found.union(await ctx.cache.owned()))


async def _monitored(ctx: ExchangeContext) -> tuple[str, ...]:
    symbols = tuple((await read_monitored(ctx.redis, [ctx.row]))[ctx.row.id])
    if not symbols:
        raise BadSetting(
            f"{ctx.row.name} monitors nothing, and no symbols are named.", 'Name them: {"symbols": […]}.'
        )
    return symbols


async def _require_symbols(ctx: ExchangeContext, symbols: Sequence[str]) -> None:
    async with ctx.pool.connection() as connection:
        await require_symbols(connection, ctx.row.id, ctx.row.name, symbols)


def _require_timeframes(ctx: ExchangeContext, timeframes: Sequence[Timeframe]) -> None:
    for timeframe in timeframes:
        if timeframe not in ctx.timeframes():
            raise UnsupportedTimeframe(timeframe, ctx.row.name, ctx.timeframes())
