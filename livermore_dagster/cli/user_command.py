"""`livermore user`: who may use the platform, and as what."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.group import group
from livermore_dagster.cli.store_session import Home, Json, StoreSession, in_session

if TYPE_CHECKING:
    from livermore_dagster.stores.postgres.users import User

__all__ = ["app"]

app = group("Users: list, add, give a role, disable, enable.", "livermore user add ana --role user")

Sub = Annotated[str, typer.Argument(metavar="SUB", help="The identity provider's own id of the user.")]
Role = Annotated[str, typer.Option(help="admin, user, subscriber_basic or subscriber_pro.")]


@app.command("list")
def list_users(as_json: Json = False, home: Home = None) -> None:
    """Show every user.

    Example: livermore user list --json
    """
    from rich.text import Text

    from livermore_dagster.cli.console import console, plain_table
    from livermore_dagster.market.moments import utc_text
    from livermore_dagster.stores.postgres.users import read_users

    users = in_session(lambda session: read_users(session.connection), home)
    if as_json:
        typer.echo(json.dumps([_facts(user) for user in users]))
        return
    table = plain_table("Users", ["user", "role", "state", "name", "e-mail", "of"], [], ["last login (UTC)"])
    for user in users:
        login = utc_text(int(user.last_login_at.timestamp() * 1000)) if user.last_login_at else "–"
        state = "active" if user.active else Text("disabled", "red")
        table.add_row(user.sub, user.role, state, user.display_name, user.email or "–", user.provider, login)
    console().print(table)


@app.command("add")
def add(
    sub: Sub,
    role: Role,
    email: Annotated[str, typer.Option(help="Shown to other admins; nobody is recognised by it.")] = "",
    name: Annotated[str, typer.Option(help="Display name; the sub where none is given.")] = "",
    provider: Annotated[str, typer.Option(help="Whose sub it is.")] = "local",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Add a user.

    Example: livermore user add ana --role user --email ana@example.org
    """
    from livermore_dagster.accounts.users import add_user, checked_role
    from livermore_dagster.stores.postgres.users import User

    wanted = User(0, provider, sub, email, name or sub, None, checked_role(role))
    user = in_session(lambda session: add_user(session.connection, wanted), home)
    _told(user, f"{user.sub} is a user now, with the role {user.role}.", as_json)


@app.command("role")
def role(
    sub: Sub,
    role: Annotated[str, typer.Argument(help="admin, user, subscriber_basic or subscriber_pro.")],
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Give a user another role.

    Example: livermore user role ana admin
    """
    from livermore_dagster.accounts.users import change_user, checked_role

    wanted = checked_role(role)
    user = in_session(lambda session: change_user(session.connection, sub, role=wanted), home)
    _told(user, f"{user.sub} has the role {user.role}.", as_json)


@app.command("disable")
def disable(sub: Sub, as_json: Json = False, home: Home = None) -> None:
    """Disable a user: no command is taken from him, no notification is sent to him.

    Example: livermore user disable ana
    """
    user = in_session(lambda session: _activity(session, sub, active=False), home)
    _told(user, f"{user.sub} is disabled. livermore user enable {user.sub} takes that back.", as_json)


@app.command("enable")
def enable(sub: Sub, as_json: Json = False, home: Home = None) -> None:
    """Take a `disable` back.

    Example: livermore user enable ana
    """
    user = in_session(lambda session: _activity(session, sub, active=True), home)
    _told(user, f"{user.sub} is active.", as_json)


async def _activity(session: StoreSession, sub: str, *, active: bool) -> User:
    """Those who tell users, and those who listen for their commands, hear of it by the settings channel."""
    from livermore_dagster.accounts.settings import tell_changed
    from livermore_dagster.accounts.users import change_user

    user = await change_user(session.connection, sub, active=active)
    await session.connection.commit()
    await tell_changed(session.redis, user.id, user.sub)
    return user


def _told(user: User, words: str, as_json: bool) -> None:
    typer.echo(json.dumps(_facts(user)) if as_json else words)


def _facts(user: User) -> dict[str, Any]:
    last = user.last_login_at
    return {**asdict(user), "last_login_at": last.isoformat() if last else None}
