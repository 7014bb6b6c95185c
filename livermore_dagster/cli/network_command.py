"""`livermore network`: what happened to the instances of the exchanges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livermore_dagster.cli.group import group
from livermore_dagster.cli.store_session import Home, Json

if TYPE_CHECKING:
    from livermore_dagster.control.network_log import NetworkEvent

__all__ = ["app"]

COLOURS = {
    "error": "red", "offline": "red", "taken over": "yellow", "handed over": "yellow", "back": "green",
    "standby": "dim",
}  # fmt: skip

app = group("The network of instances: what each went through.", "livermore network log")


@app.callback()
def _group() -> None:
    """A group, also while it has one command only."""


@app.command("log")
def show_log(
    exchange: Annotated[str | None, typer.Option("--exchange", "-e", help="Of this exchange only.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000)] = 40,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show what instances went through, the newest last: states, errors, who took over. Kept for 90 days.

    Example: livermore network log --exchange coinbase --limit 100
    """
    import msgspec
    from rich.text import Text

    from livermore_dagster.cli.console import console, plain_table
    from livermore_dagster.control.network_log import read_log
    from livermore_dagster.exchanges.factory import row_named
    from livermore_dagster.exchanges.rows import ROWS
    from livermore_dagster.market.moments import utc_text
    from livermore_dagster.platform.config import Settings
    from livermore_dagster.stores.redis.client import connect

    rows = ROWS if exchange is None else (row_named(exchange),)
    with connect(Settings.discover(home).redis_url) as client:
        events = [event for row in rows for event in reversed(read_log(client, row.name, limit))]
    events = sorted(events, key=lambda event: event.at)[-limit:]
    if as_json:
        typer.echo(msgspec.json.encode(events).decode())
        return
    table = plain_table("Network", ["when (UTC)", "exchange", "host", "what"], [], ["words"])
    homes = {event.home for event in events}
    shared = {host for host in (one.partition(":")[0] for one in homes) if _count(host, homes) > 1}
    for event in events:
        what = f"{event.old} → {event.new}" if event.event == "transition" else event.event
        colour = COLOURS.get(event.event, "default")
        table.add_row(
            utc_text(event.at), event.exchange_name, _host(event, shared), Text(what, colour), event.message
        )
    console().print(table)


def _count(host: str, homes: set[str]) -> int:
    return sum(one.partition(":")[0] == host for one in homes)


def _host(event: NetworkEvent, shared: set[str]) -> str:
    """'box', or 'box:livermore' where several homes of that host took part."""
    path = event.home.rpartition("/")[2]
    return f"{event.hostname}:{path}" if event.hostname in shared and path else event.hostname
