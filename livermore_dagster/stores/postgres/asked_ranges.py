"""The ledger of what REST proved absent (P11): never asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["AskedRange", "add_asked_ranges", "read_asked_ranges"]


@dataclass(frozen=True, slots=True)
class AskedRange:
    """[from_ms, to_ms) of a series was asked at `asked_ms` (exchange clock), settled, and holds no candle."""

    symbol: str
    timeframe: Timeframe
    from_ms: int
    to_ms: int
    asked_ms: int


async def add_asked_ranges(
    connection: AsyncConnection[Any], exchange_id: int, ranges: Sequence[AskedRange]
) -> None:
    """Adds to the ledger; ranges that touch are kept as one, with the earlier time of asking."""
    async with connection.transaction(), connection.cursor() as cursor:
        for asked in sorted(ranges, key=lambda one: (one.symbol, one.timeframe, one.from_ms)):
            given = {
                "exchange_id": exchange_id,
                "symbol": asked.symbol,
                "timeframe": asked.timeframe.value,
                "from_ms": asked.from_ms,
                "to_ms": asked.to_ms,
                "asked_ms": asked.asked_ms,
            }
            await cursor.execute(sql("take_touching_ranges"), given)
            row = await cursor.fetchone()
            if row is not None and row[0] is not None:
                given["from_ms"] = min(asked.from_ms, row[0])
                given["to_ms"] = max(asked.to_ms, row[1])
                given["asked_ms"] = min(asked.asked_ms, row[2])
            await cursor.execute(sql("add_asked_range"), given)


async def read_asked_ranges(
    connection: AsyncConnection[Any], exchange_id: int, symbol: str, timeframe: Timeframe
) -> list[AskedRange]:
    """The ledger of a series, oldest first."""
    given = {"exchange_id": exchange_id, "symbol": symbol, "timeframe": timeframe.value}
    rows = await (await connection.execute(sql("read_asked_ranges"), given)).fetchall()
    return [AskedRange(symbol, timeframe, *row) for row in rows]
