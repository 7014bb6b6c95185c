"""The `users` table: who may use the platform, and as what (U1)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal

from psycopg import AsyncConnection

from livermore_dagster.stores.postgres.statements import sql

__all__ = ["ROLES", "Role", "User", "insert_user", "read_users", "update_user"]

Role = Literal["admin", "user", "subscriber_basic", "subscriber_pro"]
ROLES: Final[tuple[Role, ...]] = ("admin", "user", "subscriber_basic", "subscriber_pro")


@dataclass(frozen=True, slots=True)
class User:
    """`sub` is the identity provider's own id of the person; provider and sub together are unique."""

    id: int
    provider: str
    sub: str
    email: str
    display_name: str
    picture_url: str | None
    role: Role
    active: bool = True
    last_login_at: datetime | None = None


async def insert_user(connection: AsyncConnection[Any], user: User) -> int | None:
    """The id it got (`user.id` is not looked at), None where provider and sub are known already."""
    row = await (await connection.execute(sql("insert_user"), asdict(user))).fetchone()
    return None if row is None else int(row[0])


async def read_users(connection: AsyncConnection[Any], sub: str | None = None) -> list[User]:
    """All users, or those with this sub: one, unless two identity providers gave the same."""
    rows = await (await connection.execute(sql("read_users"), {"sub": sub})).fetchall()
    return [User(*row) for row in rows]


async def update_user(connection: AsyncConnection[Any], user: User) -> None:
    """Writes role, activity, e-mail, names and picture of the user with this id."""
    await connection.execute(sql("update_user"), asdict(user))
