"""Fills gathered by the database into the cells of a fee report: sums of numeric, exact to the last digit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.market.fees import FeeCell, MonthBy, UnconvertedFee
from livermore_dagster.market.trades import Side
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["GatheredFees", "gather_fees"]

FOREVER_MS = 1 << 62


@dataclass(frozen=True, slots=True)
class GatheredFees:
    """`first_ms` and `last_ms` are the times of the first and last fill gathered, None without any."""

    cells: list[FeeCell]
    unconverted: list[UnconvertedFee]
    first_ms: int | None
    last_ms: int | None


async def gather_fees(
    connection: AsyncConnection[Any],
    account_id: int,
    *,
    month_by: MonthBy = MonthBy.FILLED,
    since_ms: int | None = None,
    until_ms: int | None = None,
    symbol: str | None = None,
) -> GatheredFees:
    """Cells of the fills in [since_ms, until_ms), both by the time that `month_by` names."""
    created = month_by is MonthBy.CREATED
    given = {
        "account_id": account_id,
        "since_ms": since_ms or 0,
        "until_ms": FOREVER_MS if until_ms is None else until_ms,
        "symbol": symbol,
        "created": created,
    }
    statement = sql("gather_fee_cells_by_creation" if created else "gather_fee_cells")
    rows = await (await connection.execute(statement, given)).fetchall()
    others = await (await connection.execute(sql("gather_unconverted_fees"), given)).fetchall()
    cells = [FeeCell(row[0], row[1], Side(row[2]), *row[3:14]) for row in rows]
    return GatheredFees(
        cells,
        [UnconvertedFee(*row) for row in others],
        min((row[14] for row in rows), default=None),
        max((row[15] for row in rows), default=None),
    )
