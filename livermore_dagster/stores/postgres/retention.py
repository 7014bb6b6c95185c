"""The `retention` table, and the deletes it asks for: short ones, by the primary key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.market.retention import DEFAULT_DAYS
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["delete_before", "read_retention", "set_retention"]

BARS_A_DELETE = 20_000
"""So many rows at most leave in one transaction: it is over in a moment, and vacuum keeps up."""


async def read_retention(connection: AsyncConnection[Any]) -> dict[Timeframe, int | None]:
    """Days kept of every timeframe, None for good: as was set, else the default."""
    rows = await (await connection.execute(sql("read_retention"))).fetchall()
    stated = {Timeframe(name): days for name, days in rows}
    return {timeframe: stated.get(timeframe, DEFAULT_DAYS[timeframe]) for timeframe in TIMEFRAMES}


async def set_retention(
    connection: AsyncConnection[Any], timeframe: Timeframe, keep_days: int | None, by: str
) -> None:
    """`keep_days` None: for good."""
    given = {"timeframe": timeframe.value, "keep_days": keep_days, "by": by}
    await connection.execute(sql("set_retention"), given)


async def delete_before(
    pool: Pool, exchange_id: int, timeframe: Timeframe, before_ms: int
) -> AsyncIterator[tuple[str, int]]:
    """Deletes candles, indicators and ledger entries that lie wholly before `before_ms` (epoch ms).

    Yields (symbol, candles deleted) after each transaction; stopping anywhere leaves whole stretches.
    """
    async with pool.connection() as connection:
        rows = await (
            await connection.execute(
                sql("find_expired_series"),
                {"exchange_id": exchange_id, "timeframe": timeframe.value, "before_ms": before_ms},
            )
        ).fetchall()
    for symbol, oldest_ms in rows:
        start_ms = int(oldest_ms)
        while start_ms < before_ms:
            end_ms = min(before_ms, start_ms + BARS_A_DELETE * timeframe.ms)
            yield symbol, await _delete(pool, exchange_id, symbol, timeframe, end_ms)
            start_ms = end_ms


async def _delete(pool: Pool, exchange_id: int, symbol: str, timeframe: Timeframe, end_ms: int) -> int:
    given = {
        "exchange_id": exchange_id, "symbol": symbol, "timeframe": timeframe.value, "before_ms": end_ms,
    }  # fmt: skip
    async with pool.connection() as connection, connection.transaction():
        deleted = (await connection.execute(sql("delete_candles_before"), given)).rowcount
        for statement in (
            "delete_indicators_before",
            "delete_standard_indicators_before",
            "delete_asked_ranges_before",
        ):
            await connection.execute(sql(statement), given)
    return deleted
