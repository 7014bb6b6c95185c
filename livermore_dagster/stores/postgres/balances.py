"""The `balances` table: what an account holds, as last read."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection

from livermore_dagster.market.trades import Balance
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["Holding", "read_balances", "read_holdings", "replace_balances"]


class Holding(NamedTuple):
    """What an active user has of a currency over his accounts at one exchange, held back or not."""

    user_id: int
    sub: str
    currency: str
    amount: Decimal


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
    """By currency, and when they were read (epoch ms); None where they never were, as nothing may be held."""
    rows = await (await connection.execute(sql("read_balances"), {"account_id": account_id})).fetchall()
    held = [Balance(*row[:3]) for row in rows if row[0] is not None]
    return held, max((row[3] for row in rows if row[3] is not None), default=None)


async def read_holdings(connection: AsyncConnection[Any], exchange_id: int) -> list[Holding]:
    """Of all active users with an account at the exchange, by user and currency."""
    rows = await (await connection.execute(sql("read_holdings"), {"exchange_id": exchange_id})).fetchall()
    return [Holding(*row) for row in rows]
