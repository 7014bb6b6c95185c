"""The `command_history` table (C4), and who may send commands (C1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.types.json import Jsonb

from livermore_dagster.stores.postgres.statements import sql

__all__ = ["CommandRecord", "read_authority", "read_commands", "record_command"]


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A command and how far it came. Times are epoch ms of the Redis server's clock."""

    correlation_id: str
    sub: str
    type: str
    exchange: str
    payload: Mapping[str, Any]
    priority: str
    sent_ms: int
    received_ms: int
    started_ms: int | None = None
    finished_ms: int | None = None
    outcome: str = "accepted"
    error: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    instance_id: str = ""

    @property
    def duration_ms(self) -> int | None:
        """How long it ran; None where it did not, or has not ended."""
        if self.started_ms is None or self.finished_ms is None:
            return None
        return self.finished_ms - self.started_ms


async def record_command(connection: AsyncConnection[Any], record: CommandRecord) -> None:
    """Stores how far a command has come; one that is over stays as it ended."""
    given = {**asdict(record), "payload": Jsonb(dict(record.payload)), "result": Jsonb(dict(record.result))}
    await connection.execute(sql("record_command"), given)


async def read_commands(
    connection: AsyncConnection[Any], *, exchange: str | None = None, sub: str | None = None, limit: int = 50
) -> list[CommandRecord]:
    """The newest first."""
    given = {"exchange": exchange, "sub": sub, "limit": limit}
    rows = await (await connection.execute(sql("read_commands"), given)).fetchall()
    return [CommandRecord(*row) for row in rows]


def read_authority(connection: Connection[Any], sub: str, exchange_id: int) -> tuple[bool, str, bool] | None:
    """(active, role, has an account of the exchange); None where there is no such user, or not one only."""
    rows = connection.execute(sql("read_authority"), {"sub": sub, "exchange_id": exchange_id}).fetchall()
    return (bool(rows[0][0]), str(rows[0][1]), bool(rows[0][2])) if len(rows) == 1 else None
