"""The `user_exchanges` table: a user's account on an exchange, and where its secrets are found (R8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.errors import BadSetting
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["AccountRow", "delete_account", "parse_account_key", "read_accounts", "upsert_account"]


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account. `key_env` and `secret_env` name environment variables, None where none was named."""

    id: int
    exchange_id: int
    exchange: str
    user_id: int
    sub: str
    key_env: str | None
    secret_env: str | None
    markets: tuple[str, ...]
    """Markets whose trades are read, where the exchange tells them by market only."""
    is_default: bool

    @property
    def key(self) -> str:
        """Its name for people and Dagster's partitions: coinbase.3."""
        return f"{self.exchange}.{self.id}"


def parse_account_key(key: str) -> tuple[str, int]:
    """Exchange and id of coinbase.3. Raises BadSetting for what is no account's name."""
    exchange, _, number = key.partition(".")
    if not exchange or not number.isascii() or not number.isdigit():
        raise BadSetting(
            f"{key!r} is not the name of an account.",
            "It looks like coinbase.3: see livermore account list.",
        )
    return exchange, int(number)


async def read_accounts(
    connection: AsyncConnection[Any],
    *,
    account_id: int | None = None,
    sub: str | None = None,
    exchange_id: int | None = None,
) -> list[AccountRow]:
    """Those that fit, oldest first."""
    given = {"id": account_id, "sub": sub, "exchange_id": exchange_id}
    rows = await (await connection.execute(sql("read_user_exchanges"), given)).fetchall()
    return [AccountRow(*(*row[:7], tuple(row[7] or ()), row[8])) for row in rows]


async def upsert_account(
    connection: AsyncConnection[Any],
    user_id: int,
    exchange_id: int,
    key_env: str,
    secret_env: str,
    markets: Sequence[str] = (),
) -> int:
    """Stores the names of the variables; the account's id. The caller commits."""
    given = {
        "user_id": user_id,
        "exchange_id": exchange_id,
        "key_env": key_env,
        "secret_env": secret_env,
        "markets": list(markets) or None,
    }
    row = await (await connection.execute(sql("upsert_user_exchange"), given)).fetchone()
    assert row is not None  # noqa: S101 - an upsert that updates always returns its row
    return int(row[0])


async def delete_account(connection: AsyncConnection[Any], account_id: int) -> None:
    """Deletes it with all that was read of it; the caller commits."""
    await connection.execute(sql("delete_user_exchange"), {"id": account_id})
