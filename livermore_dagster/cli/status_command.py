"""`livermore status`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["status"]


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for scripts.")] = False,
    home: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Which platform, where several run.")
    ] = None,
) -> None:
    """Show every process with its address, every exchange with its state, and the simulator's doors.

    Example: livermore status --json
    """
    import json

    from livermore_dagster.platform.status import gather

    facts = gather(home)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    _show(facts)


def _state(exchange: dict[str, Any]) -> str:
    """'active', 'warming 75 %, 12 s left'."""
    state, warmup = str(exchange["state"]), exchange["warmup"]
    if warmup is None:
        return state
    left = f", {warmup['eta_s']:.0f} s left" if warmup["eta_s"] else ""
    return f"{state} {warmup['percent']:.0f} %{left}"


def _incidents(lines: list[dict[str, Any]]) -> Table:
    """The newest of each kind: what happened, how often, and the name to look up in docs/runbook.md."""
    from rich.table import Table
    from rich.text import Text

    from livermore_dagster.platform.screen import clock_text

    table = Table(box=None, header_style="dim", padding=(0, 1))
    for column in ("incident", "exchange", "times", "last", "what it means"):
        table.add_column(column, justify="right" if column == "times" else "left")
    for line in lines:
        style = {"error": "bold red", "info": "green"}.get(line["severity"], "")
        name, times = Text(line["name"], style), f"{line['times']:,}"
        table.add_row(name, line["exchange"], times, clock_text(line["at_ms"]), line["words"])
    return table


def _show(facts: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from livermore_dagster.cli.console import console as console_for
    from livermore_dagster.platform.screen import clock_text, memory_text

    console = console_for()
    kind = (
        Text(f" SIMULATED {facts['provenance']} · {facts['speed']:g}× ", "bold black on #ffb300")
        if facts["simulated"]
        else Text(" LIVE ", "bold white on #1565c0")
    )
    console.print(
        Text("LIVERMORE ", "bold"), kind, f"market time {clock_text(facts['market_time_ms'])} ", facts["home"]
    )
    table = Table(box=None, header_style="dim", padding=(0, 1))
    for column in ("process", "pid", "memory", "address"):
        table.add_column(column, justify="right" if column in ("pid", "memory") else "left")
    for process in facts["processes"]:
        state = str(process["pid"]) if process["alive"] else Text("dead", "bold red")
        table.add_row(process["name"], state, memory_text(process["memory_bytes"]), process["address"])
    for name, address in facts["addresses"].items():
        table.add_row(Text(name, "dim"), "", "", Text(str(address), "cyan"))
    for name, doors in facts["simulator"].items():
        table.add_row(Text(f"simulated {name}", "dim"), "", "", Text(doors["control_url"], "cyan"))
    console.print(table)
    exchanges = Table(box=None, header_style="dim", padding=(0, 1))
    for column in ("exchange", "state", "desired", "symbols", "closes", "429", "alerts", "instance"):
        exchanges.add_column(
            column, justify="right" if column in ("symbols", "closes", "429", "alerts") else "left"
        )
    for name, exchange in facts["exchanges"].items():
        counters, instance = exchange["counters"], exchange["instance"] or {}
        exchanges.add_row(
            name,
            _state(exchange),
            exchange["desired"],
            str(len(exchange["symbols"])),
            f"{counters.get('closes', 0):,}",
            str(counters.get("http_429", 0)),
            str(counters.get("alerts_stored", 0)),
            str(instance.get("hostname", "–")),
        )
    console.print(exchanges)
    if facts["incidents"]:
        console.print(_incidents(facts["incidents"]))
    for line in facts["trouble"]:
        console.print(Text(line, "bold red"))
