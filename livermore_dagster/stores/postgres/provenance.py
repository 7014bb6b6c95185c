"""Whose data a database holds: 'live' or 'sim:SEED', stamped once (R13)."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.errors import ProvenanceMismatch
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["claim_provenance", "read_provenance"]

PLACE = "This database"


async def read_provenance(connection: AsyncConnection[Any]) -> str | None:
    """The stamp, None where there is none yet."""
    row = await (await connection.execute(sql("read_provenance"))).fetchone()
    return str(row[0]) if row else None


async def claim_provenance(connection: AsyncConnection[Any], stamp: str) -> None:
    """Stamps a database without market data, or checks that it is stamped so.

    Raises ProvenanceMismatch for another stamp, and for market data that nobody stamped.
    """
    async with connection.transaction():
        found = await read_provenance(connection)
        if found is None:
            row = await (await connection.execute(sql("has_market_data"))).fetchone()
            if row is None or row[0]:
                raise ProvenanceMismatch(PLACE, "unstamped", stamp)
            await connection.execute(sql("stamp_provenance"), {"stamp": stamp})
            found = await read_provenance(connection)
    if found != stamp:
        raise ProvenanceMismatch(PLACE, found or "unstamped", stamp)
