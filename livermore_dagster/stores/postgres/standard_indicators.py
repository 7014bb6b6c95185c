"""The `standard_indicators` table: RSI, Bollinger, ADX, OBV and averages, computed in batch (S12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg import AsyncConnection

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["COLUMNS", "read_newest_obv", "read_standard_indicators", "upsert_standard_indicators"]

COLUMNS: Final = (
    "rsi_14",
    "bollinger_upper",
    "bollinger_middle",
    "bollinger_lower",
    "adx_14",
    "obv",
    "sma_20",
    "sma_50",
    "ema_9",
)


async def upsert_standard_indicators(
    connection: AsyncConnection[Any],
    exchange_id: int,
    symbol: str,
    timeframe: Timeframe,
    open_ms: Sequence[int],
    columns: Mapping[str, Sequence[float | None]],
) -> int:
    """Store one series' rows; how many are new or changed. `columns` has one sequence per name in COLUMNS."""
    given = {
        "exchange_id": exchange_id,
        "symbol": symbol,
        "timeframe": timeframe.value,
        "open_ms": list(open_ms),
        **{name: list(columns[name]) for name in COLUMNS},
    }
    async with connection.transaction():
        row = await (await connection.execute(sql("upsert_standard_indicators"), given)).fetchone()
    return int(row[0]) if row else 0


async def read_standard_indicators(
    connection: AsyncConnection[Any], exchange_id: int, symbol: str, timeframe: Timeframe, from_ms: int
) -> dict[int, dict[str, float | None]]:
    """Rows of one series from `from_ms` on, by open (ms), as COLUMNS name them."""
    given = {
        "exchange_id": exchange_id,
        "symbol": symbol,
        "timeframe": timeframe.value,
        "from_ms": from_ms,
    }
    rows = await (await connection.execute(sql("read_standard_indicators"), given)).fetchall()
    return {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows}


async def read_newest_obv(
    connection: AsyncConnection[Any], exchange_id: int, symbol: str, timeframe: Timeframe, before_ms: int
) -> tuple[int, float] | None:
    """Open (ms) and OBV of the newest row of one series that opens before `before_ms`."""
    given = {
        "exchange_id": exchange_id,
        "symbol": symbol,
        "timeframe": timeframe.value,
        "before_ms": before_ms,
    }
    row = await (await connection.execute(sql("read_newest_obv"), given)).fetchone()
    return (row[0], row[1]) if row else None
