"""`livermore status`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.store_session import Home

if TYPE_CHECKING:
    from livermore_dagster.cli.console import PlainTable

__all__ = ["status"]

WATCH_S = 1.0


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="One screen, redrawn until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object for scripts; with --watch one a line each second.")
    ] = False,
    home: Home = None,
) -> None:
    """Show every process with its address, every exchange with its state, and the simulator's doors.

    Exit code 1 when a server does not answer; what the others tell is shown all the same.

    Example: livermore status --watch
    """
    import json

    from livermore_dagster.platform.status import gather

    if watch:
        _watch(home, as_json)
        return
    facts = gather(home)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        _show(facts)
    if facts["unanswered"]:
        raise typer.Exit(1)


def _watch(home: Path | None, as_json: bool) -> None:
    import asyncio
    import json

    from livermore_dagster.cli.status_screen import status_view
    from livermore_dagster.cli.watching import watch_screen
    from livermore_dagster.errors import PlatformError
    from livermore_dagster.platform.status import StatusReader

    reader = StatusReader.of(home)
    last = reader.read()

    async def read() -> dict[str, Any]:
        nonlocal last
        try:
            last = await asyncio.to_thread(reader.read)
        except PlatformError as error:
            # The last facts stand, with what is wrong on top of them.
            last = {**last, "trouble": [f"{error.message} What is shown is older."]}
        return last

    async def draw(width: int, height: int) -> Any:
        return status_view(await read(), width, height)

    async def lines() -> None:
        while True:
            typer.echo(json.dumps(await read()))
            await asyncio.sleep(WATCH_S)

    try:
        asyncio.run(lines() if as_json else watch_screen(draw, WATCH_S))
    except KeyboardInterrupt:
        return
    finally:
        reader.close()


def _table(columns: Sequence[str], right: Collection[str]) -> PlainTable:
    """Without rules; the last column's words wrap."""
    from livermore_dagster.cli.console import PlainTable

    table = PlainTable(box=None, header_style="dim", padding=(0, 1))
    for name in columns:
        last = name == columns[-1]
        table.add_column(
            name, justify="right" if name in right else "left", no_wrap=not last, overflow="fold"
        )
    return table


def _incidents(lines: list[dict[str, Any]]) -> PlainTable:
    """The newest of each kind: what happened, how often, and the name to look up in docs/runbook.md."""
    from rich.text import Text

    from livermore_dagster.market.moments import clock_text

    table = _table(("incident", "exchange", "times", "last", "what it means"), right={"times"})
    for line in lines:
        style = {"error": "bold red", "info": "green"}.get(line["severity"], "")
        name, times = Text(line["name"], style), f"{line['times']:,}"
        table.add_row(name, line["exchange"], times, clock_text(line["at_ms"]), line["words"])
    return table


def _show(facts: dict[str, Any]) -> None:
    from rich.text import Text

    from livermore_dagster.cli.console import console as console_for
    from livermore_dagster.cli.status_screen import header, homes_line

    console = console_for()
    console.print(header(facts, note=facts["home"]))
    console.print(_processes(facts))
    console.print(_exchanges(facts))
    if len(facts["homes"]) > 1:
        console.print(homes_line(facts))
    if facts["incidents"]:
        console.print(_incidents(facts["incidents"]))
    for line in facts["trouble"]:
        console.print(Text(line, "bold red"))


def _processes(facts: dict[str, Any]) -> PlainTable:
    """What runs here, and where it is reached."""
    from rich.text import Text

    from livermore_dagster.platform.screen_tables import memory_text

    table = _table(("process", "pid", "memory", "address"), right={"pid", "memory"})
    for process in facts["processes"]:
        state = str(process["pid"]) if process["alive"] else Text("dead", "bold red")
        table.add_row(process["name"], state, memory_text(process["memory_bytes"]), process["address"])
    for name, address in facts["addresses"].items():
        table.add_row(Text(name, "dim"), "", "", Text(str(address), "cyan"))
    for name, doors in facts["simulator"].items():
        table.add_row(Text(f"simulated {name}", "dim"), "", "", Text(doors["control_url"], "cyan"))
    return table


def _exchanges(facts: dict[str, Any]) -> PlainTable:
    from livermore_dagster.cli.status_screen import home_text, state_text

    numbers = ("symbols", "closes", "429", "alerts")
    table = _table(("exchange", "state", "desired", *numbers, "instance", "standby"), right=set(numbers))
    for name, exchange in facts["exchanges"].items():
        counters, instance = exchange["counters"], exchange["instance"] or {}
        table.add_row(
            name,
            state_text(exchange),
            exchange["desired"],
            str(len(exchange["symbols"])),
            f"{counters.get('closes', 0):,}",
            str(counters.get("http_429", 0)),
            str(counters.get("alerts_stored", 0)),
            home_text(instance.get("home"), facts) or str(instance.get("hostname", "–")),
            ", ".join(home_text(one["home"], facts) or one["hostname"] for one in exchange["standbys"])
            or "–",
        )
    return table
