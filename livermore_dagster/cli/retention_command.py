"""`livermore retention`: how long candles, and what was told and commanded, are kept."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from livermore_dagster.cli.group import group
from livermore_dagster.cli.store_session import Home, Json, StoreSession, User, in_session
from livermore_dagster.errors import BadSetting
from livermore_dagster.market.retention import Kept
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["app"]

app = group(
    "How long candles of each timeframe, deliveries and commands are kept.",
    "livermore retention set 1m 30",
)


@app.command("show")
def show(as_json: Json = False, home: Home = None) -> None:
    """Show the days kept of each timeframe, of deliveries of alerts, and of commands.

    Example: livermore retention show
    """
    from rich.text import Text

    from livermore_dagster.cli.console import console, plain_table
    from livermore_dagster.market.retention import DEFAULT_DAYS, least_days
    from livermore_dagster.stores.postgres.retention import read_retention

    kept = in_session(lambda session: read_retention(session.connection), home)
    if as_json:
        typer.echo(json.dumps({what.value: days for what, days in kept.items()}))
        return
    table = plain_table("Kept for", ["what"], ["days", "least"], [""])
    for what, days in kept.items():
        own = "" if days == DEFAULT_DAYS[what] else f"(default {_words(DEFAULT_DAYS[what])})"
        table.add_row(_title(what), _words(days), f"{least_days(what):,}", own)
    console().print(table)
    told = (
        "What is older leaves at the end of each UTC day, by the exchange's clock. Alerts, trades and the "
        "history of settings are kept for good."
    )
    console().print(Text(told, "dim"))


@app.command("set")
def set_days(
    what: Annotated[str, typer.Argument(help="1m, 5m, 15m, 1h, 4h or 1d; or deliveries, commands.")],
    days: Annotated[str, typer.Argument(help="A number of days, or 'forever'.")],
    user: User = None,
    home: Home = None,
) -> None:
    """Keep a timeframe's candles, deliveries of alerts or commands for so many days.

    Nothing is deleted before the next end of a UTC day.

    Example: livermore retention set 1m 30
    """
    from livermore_dagster.market.retention import kept_of, require_days
    from livermore_dagster.stores.postgres.retention import set_retention

    kept = kept_of(what)
    if days != "forever" and not days.isdecimal():
        raise BadSetting(f"{days!r} is no number of days.", "Give a whole number, or 'forever'.")
    keep = None if days == "forever" else require_days(kept, int(days))

    async def write(session: StoreSession) -> None:
        from livermore_dagster.accounts.users import require_admin

        admin = await require_admin(session.connection, session.user)
        await set_retention(session.connection, kept, keep, admin.sub)

    in_session(write, home, user)
    typer.echo(f"{_title(kept)} are kept for {'good' if keep is None else f'{_words(keep)} days'}.")


def _title(kept: Kept) -> str:
    return f"{kept.value} candles" if isinstance(kept, Timeframe) else kept.value


def _words(days: int | None) -> str:
    return "forever" if days is None else f"{days:,}"
