"""`livermore notify status` for eyes."""

from __future__ import annotations

from typing import Any

import typer

__all__ = ["show_status"]


def show_status(answer: dict[str, Any]) -> None:
    """The notifier, and a row per channel."""
    from rich.text import Text

    from livermore_dagster.cli.console import console, plain_table
    from livermore_dagster.market.moments import utc_text

    notifier = answer["notifier"]
    if notifier is None:
        typer.secho("No notifier is at work: alerts wait. Is `livermore up` running?", fg=typer.colors.RED)
    else:
        typer.echo(f"Notifier: process {notifier['pid']} on {notifier['hostname']}.")
    if not answer["channels"]:
        typer.echo("No channel yet. Add one: livermore notify add --help")
        return
    table = plain_table(
        "Channels, the last 24 hours", ["user", "channel", "state"],
        ["waiting", "sent", "failed", "not told"], ["last sent (UTC)", "last error"],
    )  # fmt: skip
    for one in answer["channels"]:
        state = one["state"]
        table.add_row(
            one["user"], one["channel"], Text(state, "" if state in ("ready", "sending") else "bold red"),
            str(one["pending"]), str(one["sent"]), str(one["failed"]), str(one["not_told"]),
            utc_text(one["last_sent_ms"]), one["last_error"] or "",
        )  # fmt: skip
    console().print(table)
