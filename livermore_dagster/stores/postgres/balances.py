"""The `balances` table: what an account holds, as last read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import AsyncConnection

from livermore_dagster.market.trades import Balance
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["read_balances", "replace_balances"]

_encode = msgspec.json.Encoder().encode


async def replace_balances(
    connection: AsyncConnection[Any], account_id: int, balances: Sequence[Balance], seen_ms: int
) -> None:
    """What is not among them is no longer held; the caller commits. `seen_ms`: wall clock."""
    given = {"account_id": account_id, "balances": _encode(list(balances)).decode(), "seen_ms": seen_ms}
    await connection.execute(sql("replace_balances"), given)


async def read_balances(
    connection: AsyncConnection[Any], account_id: int
) -> tuple[list[Balance], int | None]:
    """By currency, and when they were read (epoch ms); None where they never were."""
    rows = await (await connection.execute(sql("read_balances"), {"account_id": account_id})).fetchall()
    return [Balance(*row[:3]) for row in rows], max((row[3] for row in rows), default=None)
