"""The `fills` table: executions as charged, each fee with its value in quote and where its rate is from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import AsyncConnection

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.trades import Fill, Liquidity, Side
from livermore_dagster.stores.postgres.statements import sql

__all__ = [
    "NO_CANDLE",
    "UNCONVERTED",
    "ConvertedFee",
    "FillSums",
    "FillWrites",
    "PricelessFee",
    "UnconvertedFill",
    "convert_fees",
    "insert_fills",
    "priceless_fees",
    "stream_fills",
    "sum_fills",
    "unconverted_fills",
]

UNCONVERTED = "unconverted"
"""The rate source of a fee in a third asset that was not looked up yet; with ': why' it cannot be."""
NO_CANDLE = f"{UNCONVERTED}: no candle"
"""How the source begins where the candle was missing when it was looked up."""
FILLS_A_FETCH = 20_000

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class FillWrites:
    """`changed`: 'SYMBOL FILL_ID' of fills told otherwise than before; what was stored stands."""

    new: int
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnconvertedFill:
    """A fee in a third asset whose price in `quote` at `filled_ms` is still to be found."""

    symbol: str
    fill_id: str
    quote: str
    filled_ms: int
    fee: Decimal
    fee_currency: str


@dataclass(frozen=True, slots=True)
class ConvertedFee:
    """`fee_quote` is None where `fee_rate_source` says why there is none."""

    symbol: str
    fill_id: str
    fee_quote: Decimal | None
    fee_rate_source: str


@dataclass(frozen=True, slots=True)
class FillSums:
    """Straight sums over an account's fills in one quote currency; `fees` of the converted ones."""

    quote: str
    fills: int
    volume: Decimal
    fees: Decimal
    orders: int


@dataclass(frozen=True, slots=True)
class PricelessFee:
    """Fees in `currency` that are in no sum, and one of their reasons."""

    currency: str
    fills: int
    amount: Decimal
    reason: str


def _row(fill: Fill) -> dict[str, Any]:
    row = {name: getattr(fill, name) for name in fill.__slots__}
    fee: Decimal | None
    if fill.fee_currency == fill.quote or not fill.fee:
        fee, source = fill.fee, "quote"
    elif fill.fee_currency == fill.base:
        with exact():
            fee, source = fill.fee * fill.price, "base:price"
    else:
        fee, source = None, UNCONVERTED
    return {**row, "fee_quote": fee, "fee_rate_source": source}


async def insert_fills(
    connection: AsyncConnection[Any], account_id: int, fills: Sequence[Fill]
) -> FillWrites:
    """Stores those not yet there; the caller commits. A fee in base is worth the fill's own price."""
    if not fills:
        return FillWrites(0, ())
    unique = {(fill.symbol, fill.fill_id): _row(fill) for fill in fills}
    given = {"account_id": account_id, "fills": _encode(list(unique.values())).decode()}
    row = await (await connection.execute(sql("insert_fills"), given)).fetchone()
    new, changed = row or (0, [])
    return FillWrites(new, tuple(changed))


async def unconverted_fills(
    connection: AsyncConnection[Any], account_id: int, limit: int, late_ms: int | None = None
) -> list[UnconvertedFill]:
    """Fills whose fee's rate was not looked up yet, by fee currency, quote and time.

    With `late_ms`, instead those of after that time whose candle was missing when it was looked up.
    """
    given = {"account_id": account_id, "limit": limit, "late_ms": late_ms, "no_candle": NO_CANDLE}
    rows = await (await connection.execute(sql("read_unconverted_fills"), given)).fetchall()
    return [UnconvertedFill(*row) for row in rows]


async def convert_fees(
    connection: AsyncConnection[Any], account_id: int, converted: Sequence[ConvertedFee]
) -> None:
    """Notes what was found; a fee that has its value keeps it. The caller commits."""
    if converted:
        given = {"account_id": account_id, "converted": _encode(list(converted)).decode()}
        await connection.execute(sql("convert_fees"), given)


async def stream_fills(
    connection: AsyncConnection[Any], account_id: int
) -> AsyncIterator[tuple[Fill, Decimal | None]]:
    """All fills by time, each with its fee in quote (None: unknown), without holding them all in memory."""
    async with connection.cursor(name="fills") as cursor:
        cursor.itersize = FILLS_A_FETCH
        await cursor.execute(sql("read_fills"), {"account_id": account_id})
        async for row in cursor:
            yield Fill(*(*row[:5], Side(row[5]), *row[6:12], Liquidity(row[12]))), row[13]


async def sum_fills(connection: AsyncConnection[Any], account_id: int) -> list[FillSums]:
    """By quote currency."""
    rows = await (await connection.execute(sql("sum_fills"), {"account_id": account_id})).fetchall()
    return [FillSums(*row) for row in rows]


async def priceless_fees(connection: AsyncConnection[Any], account_id: int) -> list[PricelessFee]:
    """Fees without a value in quote, and fills without a currency."""
    given = {"account_id": account_id}
    rows = await (await connection.execute(sql("find_unknown_currencies"), given)).fetchall()
    return [PricelessFee(*row) for row in rows]
