"""Tables `user_settings` and `settings_changes`: each user's document, and who changed what in it (U3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from livermore_dagster.stores.postgres.statements import sql

__all__ = [
    "SettingsChange",
    "StoredSettings",
    "lock_settings",
    "note_scan",
    "read_active_settings",
    "read_changes",
    "write_settings",
]


@dataclass(frozen=True, slots=True)
class StoredSettings:
    """An active user with his document as JSON text, None and revision 0 where he never wrote one."""

    user_id: int
    sub: str
    display_name: str
    role: str
    revision: int
    document: str | None


class SettingsChange(NamedTuple):
    """One path of one revision, from what to what as JSON text; None where it was not, or is no more."""

    revision: int
    path: str
    before: str | None
    after: str | None
    by: str
    at: datetime | None = None


async def read_active_settings(
    connection: AsyncConnection[Any], sub: str | None = None
) -> list[StoredSettings]:
    """Of all active users, or of those with this sub."""
    rows = await (await connection.execute(sql("read_active_settings"), {"sub": sub})).fetchall()
    return [StoredSettings(*row) for row in rows]


async def lock_settings(connection: AsyncConnection[Any], user_id: int) -> tuple[int, str | None]:
    """Revision and document; until the transaction's end nobody else writes them.

    Two statements: one that waits for the lock would read the document as it was before the wait.
    """
    await connection.execute(sql("lock_user"), {"user_id": user_id})
    row = await (await connection.execute(sql("read_settings"), {"user_id": user_id})).fetchone()
    return (0, None) if row is None else (int(row[0]), row[1])


async def write_settings(
    connection: AsyncConnection[Any],
    user_id: int,
    sub: str,
    document: str,
    changes: Sequence[SettingsChange],
) -> None:
    """The next revision and its changes; within the transaction that locked them."""
    await connection.execute(sql("write_settings"), {"user_id": user_id, "document": document})
    async with connection.cursor() as cursor:
        await cursor.executemany(
            sql("insert_settings_change"), [{"sub": sub, **change._asdict()} for change in changes]
        )


async def note_scan(connection: AsyncConnection[Any], exchange: str, at_ms: int) -> None:
    """The exchange's list was made anew (epoch ms): so say the settings whose scanner is of it, or of any.

    No revision of theirs: nobody changed a setting, and nobody's change becomes stale by it.
    """
    await connection.execute(sql("note_scan"), {"exchange": exchange, "at_ms": at_ms})


async def read_changes(connection: AsyncConnection[Any], sub: str, limit: int) -> list[SettingsChange]:
    """The newest changes first."""
    rows = await (
        await connection.execute(sql("read_settings_changes"), {"sub": sub, "limit": limit})
    ).fetchall()
    return [SettingsChange(*row) for row in rows]
