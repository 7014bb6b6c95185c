"""The `exchange_probes` table: what an exchange refused or granted when asked once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.stores.postgres.statements import sql

__all__ = ["Probe", "read_probe", "record_probe"]


@dataclass(frozen=True, slots=True)
class Probe:
    """`detail` is the exchange's own word, `probed_at` in UTC."""

    probe: str
    supported: bool
    detail: str
    probed_at: datetime


async def record_probe(
    connection: AsyncConnection[Any], exchange_id: int, probe: str, supported: bool, detail: str
) -> None:
    """Stores the outcome; the newest replaces an earlier one."""
    given = {"exchange_id": exchange_id, "probe": probe, "supported": supported, "detail": detail}
    async with connection.transaction():
        await connection.execute(sql("record_probe"), given)


async def read_probe(connection: AsyncConnection[Any], exchange_id: int, probe: str) -> Probe | None:
    """None when it was never asked."""
    given = {"exchange_id": exchange_id, "probe": probe}
    row = await (await connection.execute(sql("read_probe"), given)).fetchone()
    return Probe(*row) if row else None
