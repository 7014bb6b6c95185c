"""The `fee_tiers` table: the tiers an account was seen in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.market.trades import FeeTier
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["SeenTier", "insert_fee_tier", "newest_fee_tiers", "read_fee_tiers"]


@dataclass(frozen=True, slots=True)
class SeenTier:
    """`market` is '' where the tier holds for all. `seen_ms`: wall clock."""

    market: str
    seen_ms: int
    tier: FeeTier


async def insert_fee_tier(
    connection: AsyncConnection[Any], account_id: int, tier: FeeTier, seen_ms: int, market: str = ""
) -> bool:
    """Whether it says something else than the newest one; the caller commits."""
    given = {
        "account_id": account_id,
        "market": market,
        "seen_ms": seen_ms,
        **{name: getattr(tier, name) for name in tier.__slots__},
    }
    return (await connection.execute(sql("insert_fee_tier"), given)).rowcount == 1


async def newest_fee_tiers(connection: AsyncConnection[Any], account_id: int) -> list[SeenTier]:
    """Of each market what was seen last, the newest first."""
    return await _read(connection, "read_newest_fee_tiers", {"account_id": account_id})


async def read_fee_tiers(connection: AsyncConnection[Any], account_id: int, limit: int) -> list[SeenTier]:
    """Newest first. The 30-day figures move with every trade, so nearly every look is another row."""
    return await _read(connection, "read_fee_tiers", {"account_id": account_id, "limit": limit})


async def _read(connection: AsyncConnection[Any], name: str, given: dict[str, Any]) -> list[SeenTier]:
    rows = await (await connection.execute(sql(name), given)).fetchall()
    return [SeenTier(row[0], row[1], FeeTier(*row[2:])) for row in rows]
