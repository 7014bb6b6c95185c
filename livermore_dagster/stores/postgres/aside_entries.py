"""The `fills_aside` table: what an exchange lists among an account's fills and is no plain execution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import AsyncConnection

from livermore_dagster.market.trades import AsideEntry
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["count_aside_entries", "insert_aside_entries", "read_aside_entries"]

_encode = msgspec.json.Encoder().encode


async def insert_aside_entries(
    connection: AsyncConnection[Any], account_id: int, entries: Sequence[AsideEntry]
) -> int:
    """How many of them are new; what is known stands. The caller commits."""
    if not entries:
        return 0
    given = {"account_id": account_id, "entries": _encode(list(entries)).decode()}
    return (await connection.execute(sql("insert_aside_entries"), given)).rowcount


async def read_aside_entries(
    connection: AsyncConnection[Any], account_id: int, limit: int
) -> list[AsideEntry]:
    """Newest first."""
    given = {"account_id": account_id, "limit": limit}
    rows = await (await connection.execute(sql("read_aside_entries"), given)).fetchall()
    return [AsideEntry(*row) for row in rows]


async def count_aside_entries(
    connection: AsyncConnection[Any],
    account_id: int,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    symbol: str | None = None,
) -> dict[str, int]:
    """By trade type; traded at or after `since_ms` and before `until_ms` (epoch ms)."""
    given = {"account_id": account_id, "since_ms": since_ms, "until_ms": until_ms, "symbol": symbol}
    rows = await (await connection.execute(sql("count_aside_entries"), given)).fetchall()
    return dict(rows)
