"""Whose data a database holds: 'live' or 'sim:SEED', stamped once (R13)."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from livermore_dagster.errors import ProvenanceMismatch
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["claim_provenance", "read_provenance"]

PLACE = "This database"


def read_provenance(connection: Connection[Any]) -> str | None:
    """The stamp, None where there is none yet."""
    row = connection.execute(sql("read_provenance")).fetchone()
    return str(row[0]) if row else None


def claim_provenance(connection: Connection[Any], stamp: str) -> None:
    """Stamps a database without market data, or checks that it is stamped so; committed on return.

    Raises ProvenanceMismatch for another stamp, and for market data that nobody stamped.
    """
    with connection.transaction():
        found = read_provenance(connection)
        if found is None:
            row = connection.execute(sql("has_market_data")).fetchone()
            if row is None or row[0]:
                raise ProvenanceMismatch(PLACE, "unstamped", stamp)
            connection.execute(sql("stamp_provenance"), {"stamp": stamp})
            found = read_provenance(connection)
    if found != stamp:
        raise ProvenanceMismatch(PLACE, found or "unstamped", stamp)
