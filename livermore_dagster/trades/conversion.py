"""The value of fees charged in a third asset (BNB, say): by a native candle of that time, or not at all.

The price is the close of the last candle of the fee asset's own market in the fill's quote currency that had
closed when the fill happened: from our table, else asked of the exchange once. Where there is no such market
or candle the fee stays as charged and says why; nothing is guessed, and no rate is made of two others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.market.decimals import exact
from livermore_dagster.market.exchange import Product
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.fills import (
    UNCONVERTED,
    ConvertedFee,
    UnconvertedFill,
    convert_fees,
    unconverted_fills,
)
from livermore_dagster.trades.session import AccountSession

__all__ = ["convert_third_asset_fees"]

BATCH = 5_000


async def convert_third_asset_fees(session: AccountSession) -> int:
    """Looks up every fee that was not looked up yet; how many have a value now."""
    found = 0
    while True:
        async with session.pool.connection() as connection:
            fills = await unconverted_fills(connection, session.account.id, BATCH)
        if not fills:
            return found
        markets = _markets(await session.products())
        by_market: dict[tuple[str, str], list[UnconvertedFill]] = defaultdict(list)
        for fill in fills:
            by_market[fill.fee_currency, fill.quote].append(fill)
        for (currency, quote), group in by_market.items():
            converted = await _convert(session, markets.get((currency, quote)), group)
            found += sum(one.fee_quote is not None for one in converted)
            async with session.pool.connection() as connection:
                await convert_fees(connection, session.account.id, converted)


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
    closes = await _closes(session, symbol, timeframe, sorted(set(opens)))
    return [
        _valued(fill, symbol, timeframe, open_ms, closes) for fill, open_ms in zip(fills, opens, strict=True)
    ]


def _open_before(fill: UnconvertedFill, timeframe: Timeframe) -> int:
    """Open of the newest candle that had ended at the fill: final, and known without waiting."""
    return timeframe.open_of(fill.filled_ms) - timeframe.ms


def _valued(
    fill: UnconvertedFill, symbol: str, timeframe: Timeframe, open_ms: int, closes: Mapping[int, Decimal]
) -> ConvertedFee:
    close = closes.get(open_ms)
    place = f"{symbol}:{timeframe.value}:{open_ms}"
    if close is None:
        return ConvertedFee(fill.symbol, fill.fill_id, None, f"{UNCONVERTED}: no candle {place}")
    with exact():
        return ConvertedFee(fill.symbol, fill.fill_id, fill.fee * close, f"candle:{place}")


async def _closes(
    session: AccountSession, symbol: str, timeframe: Timeframe, opens: Sequence[int]
) -> dict[int, Decimal]:
    """Closes of those candles the table or the exchange has. One request spans what fits into its reply."""
    found = await CandleTable(session.pool).closes(session.row.id, symbol, timeframe, opens)
    missing = [open_ms for open_ms in opens if open_ms not in found]
    span_ms = session.public.dialect.quirks.rest_rows * timeframe.ms
    at = 0
    while at < len(missing):
        start = missing[at]
        fitting = [open_ms for open_ms in missing[at:] if open_ms < start + span_ms]
        at += len(fitting)
        rows = await session.public.candles(
            symbol, timeframe, start, fitting[-1] + timeframe.ms, Priority.ACCOUNT
        )
        found |= {row.candle.open_ms: Decimal(row.candle.close) for row in rows}
    return found
