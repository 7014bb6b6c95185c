"""The `retention` table, and the deletes it asks for: short ones, by the primary key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.market.retention import DEFAULT_DAYS, KEPT, Kept, Records, kept_of
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["delete_before", "delete_records_before", "read_retention", "set_retention"]

ROWS_A_DELETE = 20_000
"""So many rows at most leave in one transaction: it is over in a moment, and vacuum keeps up."""
_DELETE_RECORDS = {
    Records.DELIVERIES: "delete_deliveries_before",
    Records.COMMANDS: "delete_commands_before",
}


async def read_retention(connection: AsyncConnection[Any]) -> dict[Kept, int | None]:
    """Days kept of everything that may go, None for good: as was set, else the default."""
    rows = await (await connection.execute(sql("read_retention"))).fetchall()
    stated = {kept_of(name): days for name, days in rows}
    return {kept: stated.get(kept, DEFAULT_DAYS[kept]) for kept in KEPT}


async def set_retention(connection: AsyncConnection[Any], kept: Kept, keep_days: int | None, by: str) -> None:
    """`keep_days` None: for good."""
    given = {"kept": kept.value, "keep_days": keep_days, "by": by}
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
            end_ms = min(before_ms, start_ms + ROWS_A_DELETE * timeframe.ms)
            yield symbol, await _delete(pool, exchange_id, symbol, timeframe, end_ms)
            start_ms = end_ms


async def delete_records_before(pool: Pool, records: Records, before_ms: int) -> int:
    """Deletes what is over and of before `before_ms` (wall clock), of all exchanges; how many rows."""
    deleted = 0
    while True:
        given = {"before_ms": before_ms, "limit": ROWS_A_DELETE}
        async with pool.connection() as connection:
            count = (await connection.execute(sql(_DELETE_RECORDS[records]), given)).rowcount
        deleted += count
        if count < ROWS_A_DELETE:
            return deleted


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
