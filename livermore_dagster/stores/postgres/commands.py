"""The `command_history` table (C4), and who may send commands (C1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from psycopg import AsyncConnection, Connection
from psycopg.types.json import Jsonb

from livermore_dagster.stores.postgres.statements import sql

__all__ = [
    "Authority",
    "CommandRecord",
    "load_authority",
    "read_authority",
    "read_commands",
    "record_commands",
    "why_not",
]


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


def why_not(sub: str, found: Authority | None, exchange: str) -> str:
    """Why this user may not command this exchange; '' where he may (C1)."""
    if found is None:
        return f"There is no user {sub!r}."
    if not found.active:
        return f"User {sub!r} is disabled."
    if found.role != "admin" and not found.has_account:
        return f"User {sub!r} is no admin and has no account of {exchange}."
    return ""


def read_authority(
    connection: Connection[Any], subs: Collection[str], exchange_id: int
) -> dict[str, Authority]:
    """Of the users with these subs; without those that nobody, or not one only, has."""
    rows = connection.execute(sql("read_authority"), _asked(subs, exchange_id)).fetchall()
    return _authorities(rows)


async def load_authority(
    connection: AsyncConnection[Any], subs: Collection[str], exchange_id: int
) -> dict[str, Authority]:
    """`read_authority` of an asynchronous connection."""
    found = await connection.execute(sql("read_authority"), _asked(subs, exchange_id))
    return _authorities(await found.fetchall())


def _asked(subs: Collection[str], exchange_id: int) -> dict[str, Any]:
    # What holds a NUL is no text of a database, so no user's either.
    return {"subs": [sub for sub in subs if "\0" not in sub], "exchange_id": exchange_id}


def _authorities(rows: Sequence[Sequence[Any]]) -> dict[str, Authority]:
    times = Counter(row[0] for row in rows)
    return {row[0]: Authority(*row[1:]) for row in rows if times[row[0]] == 1}
