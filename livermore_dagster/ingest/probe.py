"""One-time questions to an exchange about itself: does Coinbase serve 4h candles?"""

from __future__ import annotations

from livermore_dagster.errors import RequestRefused
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.ingest.context import (
    PROBED,
    ExchangeContext,
    probe_name,
    with_timeframe,
    without_timeframes,
)
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.probes import read_probe, record_probe

__all__ = ["probe_timeframes"]

ASK_AGAIN_MS = 7 * 86_400_000
"""A stored answer younger than this (wall clock) stands: a restart costs no request."""

_asked: set[tuple[str, Timeframe]] = set()


async def probe_timeframes(ctx: ExchangeContext, liquid_symbol: str) -> tuple[Timeframe, ...]:
    """Ask for every timeframe the row declares in doubt, once per process and no more than weekly.

    Only the exchange's own refusal of the granularity (400) counts as 'unsupported'; any other failure is
    raised and leaves the question open. Result and date are kept in exchange_probes. A refused timeframe
    leaves `ctx.row` and is returned; one granted after an earlier refusal comes back into it.
    """
    refused = []
    for text in ctx.row.api_limits.get(PROBED, ()):
        timeframe = Timeframe(text)
        if await _is_supported(ctx, timeframe, liquid_symbol):
            ctx.row = with_timeframe(ctx.row, timeframe)
        else:
            refused.append(timeframe)
            ctx.row = without_timeframes(ctx.row, refused)
    ctx.client.row = ctx.row
    return tuple(refused)


async def _is_supported(ctx: ExchangeContext, timeframe: Timeframe, symbol: str) -> bool:
    place = ctx.row.rest_url, timeframe
    async with ctx.pool.connection() as connection:
        known = await read_probe(connection, ctx.row.id, probe_name(timeframe))
    if known is not None:
        age_ms = ctx.clock.now_ms() - int(known.probed_at.timestamp() * 1000)
        if place in _asked or age_ms < ASK_AGAIN_MS:
            return known.supported
    # Refused earlier, it is not in the row: the client must be let ask.
    ctx.client.row = with_timeframe(ctx.row, timeframe)
    supported, detail = await _ask(ctx, timeframe, symbol)
    _asked.add(place)
    async with ctx.pool.connection() as connection:
        await record_probe(connection, ctx.row.id, probe_name(timeframe), supported, detail)
    return supported


async def _ask(ctx: ExchangeContext, timeframe: Timeframe, symbol: str) -> tuple[bool, str]:
    now = await ctx.exchange_now(Priority.WARMUP)
    end = timeframe.open_of(now)
    try:
        rows = await ctx.client.candles(symbol, timeframe, end - 2 * timeframe.ms, end, Priority.WARMUP)
    except RequestRefused as error:
        if error.status == 400 and "granularity" in f"{error.code} {error.message}".lower():
            return False, error.code or error.message
        raise
    return True, f"{len(rows)} rows of {symbol}"
