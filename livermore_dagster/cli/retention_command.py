"""`livermore retention`: how long candles are kept."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from livermore_dagster.cli.store_session import Home, Json, StoreSession, User, in_session
from livermore_dagster.errors import BadSetting
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["app"]

app = typer.Typer(
    help="How long candles of each timeframe are kept.\n\nExample: livermore retention set 1m 30",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("show")
def show(as_json: Json = False, home: Home = None) -> None:
    """Show the days kept of each timeframe.

    Example: livermore retention show
    """
    from livermore_dagster.cli.console import console, plain_table
    from livermore_dagster.market.retention import DEFAULT_DAYS, least_days
    from livermore_dagster.stores.postgres.retention import read_retention

    kept = in_session(lambda session: read_retention(session.connection), home)
    if as_json:
        typer.echo(json.dumps({timeframe.value: days for timeframe, days in kept.items()}))
        return
    table = plain_table("Candles are kept for", ["timeframe"], ["days", "least"], [""])
    for timeframe, days in kept.items():
        own = "" if days == DEFAULT_DAYS[timeframe] else f"(default {_words(DEFAULT_DAYS[timeframe])})"
        table.add_row(timeframe.value, _words(days), str(least_days(timeframe)), own)
    console().print(table)
    typer.secho("What is older leaves at the end of each UTC day, by the exchange's clock.", dim=True)


@app.command("set")
def set_days(
    timeframe: Annotated[str, typer.Argument(help="1m, 5m, 15m, 1h, 4h or 1d.")],
    days: Annotated[str, typer.Argument(help="A number of days, or 'forever'.")],
    user: User = None,
    home: Home = None,
) -> None:
    """Keep a timeframe's candles for so many days. Nothing is deleted before the next end of a UTC day.

    Example: livermore retention set 1m 30
    """
    from livermore_dagster.market.retention import require_days
    from livermore_dagster.stores.postgres.retention import set_retention

    frame = Timeframe.parse(timeframe)
    if days != "forever" and not days.isdecimal():
        raise BadSetting(f"{days!r} is no number of days.", "Give a whole number, or 'forever'.")
    keep = None if days == "forever" else require_days(frame, int(days))

    async def write(session: StoreSession) -> None:
        from livermore_dagster.accounts.users import require_admin

        admin = await require_admin(session.connection, session.user)
        await set_retention(session.connection, frame, keep, admin.sub)

    in_session(write, home, user)
    typer.echo(f"{frame.value} candles are kept for {_words(keep)} days." if keep else
               f"{frame.value} candles are kept for good.")  # fmt: skip


def _words(days: int | None) -> str:
    return "forever" if days is None else f"{days:,}"
