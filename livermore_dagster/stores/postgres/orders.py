"""The `orders` table: every order of an account as the exchange last told it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import AsyncConnection

from livermore_dagster.market.trades import Order
from livermore_dagster.stores.postgres.statements import sql

__all__ = [
    "OrderDifference",
    "WriteCounts",
    "count_trades",
    "find_differences",
    "unsettled_orders",
    "upsert_orders",
]

_encode = msgspec.json.Encoder().encode
"""Decimals become JSON text, and so reach numeric columns with every digit."""


@dataclass(frozen=True, slots=True)
class WriteCounts:
    new: int
    changed: int


@dataclass(frozen=True, slots=True)
class OrderDifference:
    """An order that its fills contradict, or a fill without its order. Sizes in base, values in quote."""

    symbol: str
    order_id: str
    difference: str
    order_size: Decimal | None
    fills_size: Decimal | None
    order_value: Decimal | None
    fills_value: Decimal | None
    order_fee: Decimal | None
    fills_fee: Decimal | None


async def upsert_orders(
    connection: AsyncConnection[Any], account_id: int, orders: Sequence[Order]
) -> WriteCounts:
    """Stores new orders and what changed of known ones; the caller commits."""
    if not orders:
        return WriteCounts(0, 0)
    # One statement must not meet an order twice: the version that knows of more counts.
    newest = {
        (order.symbol, order.order_id): order
        for order in sorted(orders, key=lambda one: (one.settled, one.filled_size, one.updated_ms))
    }
    given = {"account_id": account_id, "orders": _encode(list(newest.values())).decode()}
    row = await (await connection.execute(sql("upsert_orders"), given)).fetchone()
    new, changed = row or (0, 0)
    return WriteCounts(new, changed)


async def unsettled_orders(
    connection: AsyncConnection[Any], account_id: int, market: str = "", limit: int = 1
) -> list[tuple[int, str]]:
    """Creation (epoch ms) and id of orders that may still change, the oldest `limit` of them."""
    given = {"account_id": account_id, "market": market, "limit": limit}
    rows = await (await connection.execute(sql("list_unsettled_orders"), given)).fetchall()
    return [(row[0], row[1]) for row in rows]


async def find_differences(
    connection: AsyncConnection[Any], account_id: int, limit: int = 50
) -> list[OrderDifference]:
    """At most `limit` orders that do not agree with their fills."""
    given = {"account_id": account_id, "limit": limit}
    rows = await (await connection.execute(sql("find_order_differences"), given)).fetchall()
    return [OrderDifference(*row) for row in rows]


async def count_trades(connection: AsyncConnection[Any], account_id: int) -> tuple[int, int]:
    """How many orders and fills are stored of an account."""
    row = await (await connection.execute(sql("count_trades"), {"account_id": account_id})).fetchone()
    return (row[0], row[1]) if row else (0, 0)
