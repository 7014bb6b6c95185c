"""Rows of the `indicators` table as the batch asset and its check see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from psycopg import AsyncConnection

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["MacdvRow", "add_batch_macdv", "read_macdv_rows"]


@dataclass(frozen=True, slots=True)
class MacdvRow:
    """MACD-V of one bar; `source` is 'live' or 'batch'. Without a value, `reason` says why."""

    open_ms: int
    macdv: float | None
    signal: float | None
    histogram: float | None
    stage: str
    reason: str | None
    seeded: bool
    warming: bool
    n_eff: int
    span_bars: int
    seed_open_ms: int
    formula: int
    source: str = "batch"


_COLUMNS: Final = tuple(field.name for field in fields(MacdvRow) if field.name != "source")


async def read_macdv_rows(
    connection: AsyncConnection[Any], exchange_id: int, symbol: str, timeframe: Timeframe, from_ms: int
) -> list[MacdvRow]:
    """Rows of one series that open at or after `from_ms`, oldest first."""
    given = {
        "exchange_id": exchange_id,
        "symbol": symbol,
        "timeframe": timeframe.value,
        "from_ms": from_ms,
    }
    rows = await (await connection.execute(sql("read_macdv_rows"), given)).fetchall()
    return [MacdvRow(*row) for row in rows]


async def add_batch_macdv(
    connection: AsyncConnection[Any],
    exchange_id: int,
    symbol: str,
    timeframe: Timeframe,
    rows: Sequence[MacdvRow],
) -> int:
    """Store `rows` where the series has none yet; how many that were."""
    if not rows:
        return 0
    given: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in _COLUMNS}
    given |= {"exchange_id": exchange_id, "symbol": symbol, "timeframe": timeframe.value}
    async with connection.transaction():
        row = await (await connection.execute(sql("add_batch_macdv"), given)).fetchone()
    return int(row[0]) if row else 0
