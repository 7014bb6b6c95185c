"""What an instance monitors by what is wanted of it: symbols, and timeframes to compute signals of."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from redis.asyncio.client import Pipeline

from livermore_dagster.accounts.settings import load_active
from livermore_dagster.accounts.wishes import timeframes_of
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.symbols import resolve_monitored
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.desired import Desired

__all__ = [
    "Selection",
    "forget_warmth",
    "select",
    "signal_timeframes",
    "tell_computed",
    "tell_monitored",
    "tell_warm",
]


@dataclass(frozen=True, slots=True)
class Selection:
    """`symbols` in rank order. `timeframes`: MACD-V and alerts are computed of these; the candles of all
    that the exchange has are kept whatever it says."""

    symbols: tuple[str, ...]
    timeframes: frozenset[Timeframe]
    owners: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of symbols that are there only because users want them: whose they are."""


async def select(ctx: ExchangeContext, desired: Desired) -> Selection:
    """Raises UnknownSymbol for a chosen symbol the exchange never had, and ExchangeError."""
    monitored = await resolve_monitored(ctx, desired)
    return Selection(tuple(monitored.ids), await signal_timeframes(ctx), monitored.owners)


async def signal_timeframes(ctx: ExchangeContext) -> frozenset[Timeframe]:
    """Those any active user wants."""
    async with ctx.pool.connection() as connection:
        users = await load_active(connection)
    return timeframes_of(users, ctx.row.name)


async def tell_monitored(
    ctx: ExchangeContext, symbols: Sequence[str], cold: Collection[str], *, added: Collection[str] = ()
) -> None:
    """For everyone who asks what is monitored here; `cold`: those whose history is to be warmed up first.

    `added` were not monitored until now: nothing before their warm-up is judged, whatever was told of them.
    """
    async with ctx.redis.pipeline(transaction=True) as pipe:
        forget_warmth(pipe, ctx.row.id, added)
        if cold:
            pipe.sadd(keys.warming(ctx.row.id), *cold)
        pipe.set(keys.monitored(ctx.row.id), json.dumps(list(symbols)))
        await pipe.execute()


async def tell_warm(ctx: ExchangeContext, symbols: Collection[str], now_ms: int | None) -> None:
    """Their history is there, as far as the exchange gave it. `now_ms`: exchange clock, where it is known."""
    if not symbols:
        return
    async with ctx.redis.pipeline(transaction=True) as pipe:
        if now_ms is not None:
            for symbol in symbols:
                pipe.hsetnx(keys.warmed(ctx.row.id), symbol, str(now_ms))
        pipe.srem(keys.warming(ctx.row.id), *symbols)
        await pipe.execute()


async def tell_computed(ctx: ExchangeContext, timeframes: Collection[Timeframe], now_ms: int | None) -> None:
    """Signals are computed of these, and no others; what is new among them is judged from `now_ms` on.

    `now_ms`: exchange clock, where it is known; new ones are told another time where it is not.
    """
    key = keys.computed(ctx.row.id)
    gone = [timeframe.value for timeframe in Timeframe if timeframe not in timeframes]
    async with ctx.redis.pipeline(transaction=True) as pipe:
        if gone:
            pipe.hdel(key, *gone)
        if now_ms is not None:
            for timeframe in timeframes:
                pipe.hsetnx(key, timeframe.value, str(now_ms))
        await pipe.execute()


def forget_warmth(pipe: Pipeline, exchange_id: int, symbols: Collection[str]) -> None:
    """In the transaction of `pipe`: they are neither warm nor to be warmed up, whatever was told of them."""
    if symbols:
        pipe.hdel(keys.warmed(exchange_id), *symbols)
        pipe.srem(keys.warming(exchange_id), *symbols)
