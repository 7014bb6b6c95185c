"""The `series` table: where a series begins. Bars before that are outside its history, not absent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["LISTING_BARS", "first_opens", "learn_first_open"]

LISTING_BARS = 100
"""An empty stretch this long, with nothing older known, is the time before a symbol's listing."""


async def learn_first_open(
    connection: AsyncConnection[Any], exchange_id: int, symbol: str, timeframe: Timeframe, first_open_ms: int
) -> None:
    """Notes the open (ms) of a series' first candle; an earlier one replaces a later one."""
    given = {
        "exchange_id": exchange_id,
        "symbol": symbol,
        "timeframe": timeframe.value,
        "first_open_ms": first_open_ms,
    }
    async with connection.transaction():
        await connection.execute(sql("learn_first_open"), given)


async def first_opens(
    connection: AsyncConnection[Any], exchange_id: int, symbols: Iterable[str], timeframe: Timeframe
) -> dict[str, int]:
    """First open (ms) of those symbols whose beginning is known.

    It was noted, or the ledger shows it: a symbol that is listed while it is watched begins behind
    LISTING_BARS bars that REST proved absent, when the day before those is absent too.
    """
    given = {
        "exchange_id": exchange_id,
        "symbols": list(symbols),
        "timeframe": timeframe.value,
        "step_ms": timeframe.ms,
        "quiet_ms": LISTING_BARS * timeframe.ms,
    }
    rows = await (await connection.execute(sql("read_first_opens"), given)).fetchall()
    return {row[0]: row[1] for row in rows}
