"""Who may use the platform: found, added, given a role, disabled."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from psycopg import AsyncConnection

from livermore_dagster.errors import BadSetting, InactiveUser, NotAllowed, UnknownUser
from livermore_dagster.stores.postgres.users import (
    ROLES,
    Role,
    User,
    insert_user,
    read_users,
    update_user,
)

__all__ = [
    "LOCAL",
    "add_user",
    "change_user",
    "checked_role",
    "ensure_local_admin",
    "require_admin",
    "require_user",
]

LOCAL: Final = "local"
"""Identity provider of users who are not signed in by any: this machine vouches for them."""
_SUB: Final = re.compile(r"[\x21-\x7e]{1,200}")


async def require_user(connection: AsyncConnection[Any], sub: str, *, active: bool = True) -> User:
    """The user with this sub. Raises UnknownUser, and InactiveUser where an active one is asked for."""
    found = await read_users(connection, sub)
    if not found:
        raise UnknownUser(sub, [user.sub for user in await read_users(connection)])
    if len(found) > 1:
        providers = ", ".join(user.provider for user in found)
        raise BadSetting(f"Several users have the sub {sub!r}: of {providers}.", "Disable or rename one.")
    if active and not found[0].active:
        raise InactiveUser(sub)
    return found[0]


async def require_admin(connection: AsyncConnection[Any], sub: str) -> User:
    """The active admin with this sub. Raises UnknownUser, InactiveUser, and NotAllowed for another role."""
    user = await require_user(connection, sub)
    if user.role != "admin":
        raise NotAllowed(f"{sub!r} has the role {user.role}; this is for admins.")
    return user


def checked_role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise BadSetting(f"Unknown role {text!r}.", f"Roles: {', '.join(ROLES)}.")


async def add_user(connection: AsyncConnection[Any], user: User) -> User:
    """Stores a new user. Raises BadSetting for a sub that cannot be one, or that is known already."""
    if not _SUB.fullmatch(user.sub):
        raise BadSetting(
            f"{user.sub!r} cannot be a user's sub.", "It is 1 to 200 printable ASCII characters, no spaces."
        )
    user_id = await insert_user(connection, user)
    if user_id is None:
        raise BadSetting(f"User {user.sub!r} of {user.provider} exists already.", "See livermore user list.")
    return replace(user, id=user_id)


async def change_user(
    connection: AsyncConnection[Any], sub: str, *, role: Role | None = None, active: bool | None = None
) -> User:
    """Another role, or disabled or enabled. Raises BadSetting where no active admin would be left."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
        user = await require_user(connection, sub, active=False)
        changed = replace(
            user,
            role=user.role if role is None else role,
            active=user.active if active is None else active,
        )
        others = [
            other
            for other in await read_users(connection)
            if other.id != user.id and other.active and other.role == "admin"
        ]
        if not others and not (changed.active and changed.role == "admin"):
            raise BadSetting(
                f"{sub!r} is the only active admin.", "Make another user an admin first: livermore user role."
            )
        await update_user(connection, changed)
    return changed


async def ensure_local_admin(connection: AsyncConnection[Any], login: str) -> User | None:
    """On a platform without any user: its first one, an admin named as who started it; else None."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
        if await read_users(connection):
            return None
        first = User(0, LOCAL, f"{LOCAL}:{login}", "", login, None, "admin")
        return await add_user(connection, first)
