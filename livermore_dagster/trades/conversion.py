"""The value of fees charged in a third asset (BNB, say): by a native candle of that time, or not at all.

The price is the close of the last candle of the fee asset's own market in the fill's quote currency that had
closed when the fill happened: from our table, else asked of the exchange; REST may have it late, so it is
asked again while the fill is younger than a day. Where there is no such market or candle, or the exchange
tells it no more, the fee stays as charged and says why; nothing is guessed, no rate is made of two others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

from livermore_dagster.errors import RequestRefused
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.market.decimals import exact
from livermore_dagster.market.exchange import Product
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.fills import (
    NO_CANDLE,
    UNCONVERTED,
    ConvertedFee,
    UnconvertedFill,
    convert_fees,
    unconverted_fills,
)
from livermore_dagster.trades.session import AccountSession

__all__ = ["convert_third_asset_fees"]

BATCH = 5_000
LATE_MS = 86_400_000
"""A fill younger than this may still get the candle that was missing when it was looked up."""
_GONE = (400, 404)
"""What exchanges answer for a product they tell no more."""


async def convert_third_asset_fees(session: AccountSession) -> int:
    """Looks up every fee not looked up yet, and anew what may have been late; how many got a value now."""
    found = await _convert_all(session, await _late(session))
    while True:
        async with session.pool.connection() as connection:
            fills = await unconverted_fills(connection, session.account.id, BATCH)
        if not fills:
            return found
        found += await _convert_all(session, fills)


async def _late(session: AccountSession) -> list[UnconvertedFill]:
    """Fills of the last day that lacked their candle; the exchange's time is asked only where some do."""
    async with session.pool.connection() as connection:
        lacking = await unconverted_fills(connection, session.account.id, BATCH, late_ms=0)
    if not lacking:
        return []
    since_ms = await session.public.server_time(Priority.ACCOUNT) - LATE_MS
    async with session.pool.connection() as connection:
        return await unconverted_fills(connection, session.account.id, BATCH, late_ms=since_ms)


async def _convert_all(session: AccountSession, fills: Sequence[UnconvertedFill]) -> int:
    if not fills:
        return 0
    markets = _markets(await session.products())
    by_market: dict[tuple[str, str], list[UnconvertedFill]] = defaultdict(list)
    for fill in fills:
        by_market[fill.fee_currency, fill.quote].append(fill)
    found = 0
    for (currency, quote), group in by_market.items():
        converted = await _convert(session, markets.get((currency, quote)), group)
        found += sum(one.fee_quote is not None for one in converted)
        async with session.pool.connection() as connection:
            await convert_fees(connection, session.account.id, converted)
    return found


def _markets(products: Mapping[str, Product]) -> dict[tuple[str, str], str]:
    """Symbol by base and quote; a canonical product before its alias."""
    ordered = sorted(products.values(), key=lambda one: (one.alias_of is None, one.trading))
    return {(one.base, one.quote): one.symbol for one in ordered}


async def _convert(
    session: AccountSession, symbol: str | None, fills: Sequence[UnconvertedFill]
) -> list[ConvertedFee]:
    if symbol is None:
        why = f"{UNCONVERTED}: no market {fills[0].fee_currency}/{fills[0].quote}"
        return [ConvertedFee(fill.symbol, fill.fill_id, None, why) for fill in fills]
    timeframe = min(session.row.streamed_timeframes, key=lambda one: one.ms)
    opens = [_open_before(fill, timeframe) for fill in fills]
    closes, refused = await _closes(session, symbol, timeframe, sorted(set(opens)))
    return [
        _valued(fill, f"{symbol}:{timeframe.value}:{open_ms}", closes.get(open_ms), refused)
        for fill, open_ms in zip(fills, opens, strict=True)
    ]


def _open_before(fill: UnconvertedFill, timeframe: Timeframe) -> int:
    """Open of the newest candle that had ended at the fill: final, and known without waiting."""
    return timeframe.open_of(fill.filled_ms) - timeframe.ms


def _valued(fill: UnconvertedFill, place: str, close: Decimal | None, refused: str) -> ConvertedFee:
    if close is None:
        why = f"{UNCONVERTED}: {refused}" if refused else f"{NO_CANDLE} {place}"
        return ConvertedFee(fill.symbol, fill.fill_id, None, why)
    with exact():
        return ConvertedFee(fill.symbol, fill.fill_id, fill.fee * close, f"candle:{place}")


async def _closes(
    session: AccountSession, symbol: str, timeframe: Timeframe, opens: Sequence[int]
) -> tuple[dict[int, Decimal], str]:
    """Closes of those candles the table or the exchange has, and why it refused to tell any more, or ''.

    One request spans what fits into its reply.
    """
    found = await CandleTable(session.pool).closes(session.row.id, symbol, timeframe, opens)
    missing = [open_ms for open_ms in opens if open_ms not in found]
    span_ms = session.public.dialect.quirks.rest_rows * timeframe.ms
    at = 0
    while at < len(missing):
        start = missing[at]
        fitting = [open_ms for open_ms in missing[at:] if open_ms < start + span_ms]
        at += len(fitting)
        try:
            rows = await session.public.candles(
                symbol, timeframe, start, fitting[-1] + timeframe.ms, Priority.ACCOUNT
            )
        except RequestRefused as refused:
            if refused.status not in _GONE:
                raise
            return found, f"{session.row.name} tells no candles of {symbol}: {refused.code}"
        found |= {row.candle.open_ms: Decimal(row.candle.close) for row in rows}
    return found, ""
