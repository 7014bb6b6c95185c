"""The one way of a REST reply into cache, table and ledger, whichever flow asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from livermore_dagster.errors import ExchangeError, RequestRefused
from livermore_dagster.exchanges.contract import Priority, RestCandle
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.candle import Origin, Rank, StampedCandle
from livermore_dagster.market.closing import Effects
from livermore_dagster.market.closing_rest import judge_reply
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.asked_ranges import AskedRange, add_asked_ranges, read_asked_ranges
from livermore_dagster.stores.postgres.series import LISTING_BARS, first_opens, learn_first_open
from livermore_dagster.stores.redis.candle_cache import WriteResult
from livermore_dagster.stores.redis.symbol_events import doubt_symbol

__all__ = [
    "Reply",
    "ask",
    "first_open",
    "ledger",
    "no_such_symbol",
    "store_absent",
    "store_candles",
    "tell_listing",
]

BATCH = 150
"""Candles per Lua call: a longer one would keep live frames, and acknowledgements of commands, waiting."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Rows of one request and what they prove. `newest_ms`: open of the newest row, -1 without rows."""

    rows: Sequence[RestCandle]
    effects: Effects
    asked_ms: int

    @property
    def newest_ms(self) -> int:
        return self.rows[-1].candle.open_ms if self.rows else -1

    @property
    def candles(self) -> list[StampedCandle]:
        """Closed rows of the asked range."""
        return self.effects.writes


_NO_SUCH_SYMBOL: Final = (400, 404)
"""How exchanges refuse the candles of what they no longer list (Binance 400 -1121, Coinbase 404)."""


def no_such_symbol(error: ExchangeError) -> bool:
    """Whether the exchange refused one symbol, which asking again does not mend."""
    return isinstance(error, RequestRefused) and error.status in _NO_SUCH_SYMBOL


async def ask(
    ctx: ExchangeContext,
    symbol: str,
    timeframe: Timeframe,
    page: tuple[int, int],
    priority: Priority,
    origin: Origin,
    *,
    look_beyond: bool = True,
) -> Reply:
    """One request for the slots of `page`, judged by a lower bound of the exchange's clock.

    With `look_beyond` it reaches one bar further where a request may, because a later row proves most.
    """
    from_ms, to_ms = page
    asked_ms = await ctx.exchange_now(priority)
    room = (to_ms - from_ms) // timeframe.ms < ctx.quirks.rest_rows
    beyond = to_ms + timeframe.ms if look_beyond and room else to_ms
    try:
        rows = await ctx.client.candles(symbol, timeframe, from_ms, beyond, priority)
    except RequestRefused as error:
        if no_such_symbol(error):
            await doubt_symbol(ctx.redis, ctx.row.id, symbol, error.message, ctx.clock.now_ms())
        raise
    return Reply(rows, judge_reply(symbol, timeframe, page, rows, asked_ms, origin), asked_ms)


async def store_candles(ctx: ExchangeContext, candles: Sequence[StampedCandle], *, kept: bool = False) -> int:
    """Into the cache, which raises their closes; what is too old for it into PostgreSQL.

    Returns how many are new or changed. What was asked for early is asked once more, where the context has
    somebody for it; not so what is `kept`: it comes from our own tables, and is as old as it is.
    """
    stored = 0
    for start in range(0, len(candles), BATCH):
        batch = candles[start : start + BATCH]
        results = await ctx.cache.write(batch, ctx.clock.now_ms())
        older = [
            one
            for one, result in zip(batch, results, strict=True)
            if result is WriteResult.OLDER and one.rank is not Rank.OPEN
        ]
        if older:
            counts = await ctx.table.upsert(ctx.row.id, older)
            stored += counts.inserted + counts.updated
        changed = (WriteResult.INSERTED, WriteResult.UPDATED, WriteResult.REVISED)
        stored += sum(result in changed for result in results)
        if ctx.on_early is not None and not kept:
            for one, result in zip(batch, results, strict=True):
                if one.rank is Rank.FINAL and result is not WriteResult.REFUSED:
                    ctx.on_early(one)
    return stored


async def store_absent(
    ctx: ExchangeContext,
    absent: Sequence[tuple[str, Timeframe, int, int]],
    asked_ms: int,
    since_ms: int | None = None,
) -> None:
    """What REST proved absent goes to the ledger and is not asked again (P11).

    `since_ms`: where the series begins, if that is known: what lies before needs no ledger.
    """
    begin = since_ms or 0
    ranges = [AskedRange(name, tf, max(a, begin), b, asked_ms) for name, tf, a, b in absent if b > begin]
    if ranges:
        async with ctx.pool.connection() as connection:
            await add_asked_ranges(connection, ctx.row.id, ranges)


async def ledger(ctx: ExchangeContext, symbol: str, timeframe: Timeframe) -> list[tuple[int, int]]:
    """Ranges of a series that hold no candle, as REST said."""
    async with ctx.pool.connection() as connection:
        found = await read_asked_ranges(connection, ctx.row.id, symbol, timeframe)
    return [(one.from_ms, one.to_ms) for one in found]


async def first_open(ctx: ExchangeContext, symbol: str, timeframe: Timeframe) -> int | None:
    """Where the series begins, as far as that is known (epoch ms).

    A daily series' beginning bounds every other of the same symbol.
    """
    async with ctx.pool.connection() as connection:
        own = (await first_opens(connection, ctx.row.id, [symbol], timeframe)).get(symbol)
        day = (await first_opens(connection, ctx.row.id, [symbol], Timeframe.D1)).get(symbol)
    return own if day is None else max(day, own or 0)


async def tell_listing(
    ctx: ExchangeContext,
    symbol: str,
    timeframe: Timeframe,
    page: tuple[int, int],
    reply: Reply,
    oldest: int | None,
) -> int | None:
    """Whether `reply` shows that the series begins within or after `page`; notes and returns its first open.

    `oldest`: the oldest open known besides. An exchange that fills empty bars, and days anywhere, begin where
    the first row is; elsewhere a first row may be late for want of trades, and only a long silence tells.
    """
    from_ms, to_ms = page
    rows = [row.candle.open_ms for row in reply.rows]
    if oldest is not None and oldest < from_ms:
        return None
    first = min([*rows, *([oldest] if oldest is not None else [])], default=None)
    if first is None or first < from_ms + timeframe.ms:
        return None
    if not (ctx.quirks.rest_fills_empty or timeframe is Timeframe.D1):
        silence = (min(first, to_ms) - from_ms) // timeframe.ms
        if silence < LISTING_BARS or await _traded_before(ctx, symbol, first - silence * timeframe.ms):
            return None
    async with ctx.pool.connection() as connection:
        await learn_first_open(connection, ctx.row.id, symbol, timeframe, first)
    return first


async def _traded_before(ctx: ExchangeContext, symbol: str, at_ms: int) -> bool:
    """Whether a day that ended by `at_ms` is known: listed long before, the market only sleeps."""
    days = await ctx.cache.read(symbol, Timeframe.D1)
    return any(day.end_ms <= at_ms for day in days)
