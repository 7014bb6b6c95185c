"""One reader of an account at a time, whoever started it: a session's advisory lock."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection, errors

from livermore_dagster.stores.postgres.statements import sql

__all__ = ["AccountReader", "find_account_reader", "lock_account", "unlock_account"]

_SPACE: Final = 0x4C56
"""First half of the advisory locks of accounts ('LV')."""


class AccountReader(NamedTuple):
    """Who holds an account: the server's process, the client's address, and since when (wall clock).

    Of another role's session PostgreSQL shows the last two only to members of pg_read_all_stats: else None.
    """

    pid: int
    address: str | None
    since_ms: int | None


async def lock_account(connection: AsyncConnection[Any], account_id: int, patience_s: float | None) -> bool:
    """Whether the account is this session's within `patience_s`; None waits for as long as it takes.

    `connection` must be in autocommit mode: a transaction would last as long as the reading does.
    """
    limit = "0" if patience_s is None else f"{max(1, round(patience_s * 1000))}ms"
    await connection.execute("SELECT set_config('lock_timeout', %s, false)", (limit,))
    try:
        await connection.execute("SELECT pg_advisory_lock(%s, %s)", (_SPACE, account_id))
    except errors.LockNotAvailable:
        return False
    finally:
        await connection.execute("RESET lock_timeout")
    return True


async def unlock_account(connection: AsyncConnection[Any], account_id: int) -> None:
    await connection.execute("SELECT pg_advisory_unlock(%s, %s)", (_SPACE, account_id))


async def find_account_reader(connection: AsyncConnection[Any], account_id: int) -> AccountReader | None:
    """Who reads the account now; None where nobody does any more."""
    given = {"space": _SPACE, "account_id": account_id}
    row = await (await connection.execute(sql("find_account_reader"), given)).fetchone()
    return AccountReader(*row) if row else None
