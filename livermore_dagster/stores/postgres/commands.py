"""The `command_history` table (C4), and who may send commands (C1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from psycopg import AsyncConnection, Connection
from psycopg.types.json import Jsonb

from livermore_dagster.stores.postgres.statements import sql

__all__ = ["Authority", "CommandRecord", "read_authority", "read_commands", "record_commands"]


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


async def record_commands(connection: AsyncConnection[Any], records: Sequence[CommandRecord]) -> None:
    """Stores how far each command has come, all or none; one that is over stays as it ended."""
    given = [
        {**asdict(one), "payload": Jsonb(dict(one.payload)), "result": Jsonb(dict(one.result))}
        for one in records
    ]
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.executemany(sql("record_command"), given)


async def read_commands(
    connection: AsyncConnection[Any], *, exchange: str | None = None, sub: str | None = None, limit: int = 50
) -> list[CommandRecord]:
    """The newest first."""
    given = {"exchange": exchange, "sub": sub, "limit": limit}
    rows = await (await connection.execute(sql("read_commands"), given)).fetchall()
    return [CommandRecord(*row) for row in rows]


class Authority(NamedTuple):
    """What a user may by his account."""

    active: bool
    role: str
    has_account: bool
    """Of the exchange that was asked for."""


def read_authority(
    connection: Connection[Any], subs: Collection[str], exchange_id: int
) -> dict[str, Authority]:
    """Of the users with these subs; without those that nobody, or not one only, has."""
    # What holds a NUL is no text of a database, so no user's either.
    wanted = [sub for sub in subs if "\0" not in sub]
    rows = connection.execute(sql("read_authority"), {"subs": wanted, "exchange_id": exchange_id}).fetchall()
    times = Counter(row[0] for row in rows)
    return {row[0]: Authority(*row[1:]) for row in rows if times[row[0]] == 1}
