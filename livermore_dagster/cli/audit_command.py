"""`livermore audit`: an exchange's stored data against the exchange and against itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livermore_dagster.cli.arguments import moment, timeframes_of
from livermore_dagster.cli.store_session import Home, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livermore_dagster.audit.exchange_audit import Audited
    from livermore_dagster.market.timeframe import Timeframe
    from livermore_dagster.platform.config import Settings

__all__ = ["audit"]

SHOWN = 20


def audit(
    exchange: Annotated[str, typer.Argument(help="Name of the exchange, such as binance.")],
    since: Annotated[
        str | None,
        typer.Option(
            help="A time (ISO 8601) or a span back, such as 2d. Default: 300 bars of each timeframe."
        ),
    ] = None,
    timeframes: Annotated[
        str | None,
        typer.Option(
            "--timeframes",
            "--timeframe",
            "-t",
            help="A list such as 1m,5m. Default: all that closes by itself there.",
        ),
    ] = None,
    symbols: Annotated[
        str | None, typer.Option(help="A list such as BTCUSDT,ETHUSDT. Default: those monitored.")
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask/--no-ask", help="Ask the exchange too, and repair what differs.")
    ] = True,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Judge what is stored, as the checks in Dagster do.

    Candles equal the exchange's own (and are repaired where not), have no gaps beyond what REST proved
    absent, are sound and fresh; MACD-V computed live equals a recomputation. A series is judged from its
    oldest candle here on, at most: for the history before it there is livermore backfill.

    Exit code 1 when something is not as it should be, also when that was repaired.

    Example: livermore audit binance --since 2026-01-05T00:00:00Z --timeframes 5m
    """
    import asyncio

    from livermore_dagster.exchanges.factory import require_active, row_named
    from livermore_dagster.platform.attach import attach
    from livermore_dagster.platform.watch import MarketTime

    row = require_active(row_named(exchange))
    settings = attach(home)
    wanted = timeframes_of(timeframes, row.name, row.live_timeframes)
    since_ms = moment(since, "--since", MarketTime.of(settings).now_ms())
    named = [word.strip() for word in symbols.split(",") if word.strip()] if symbols else None
    found = asyncio.run(_run(row.name, settings, wanted, named, since_ms, ask, as_json))
    if as_json:
        _print_json(row.name, found)
    else:
        _print_tables(row.display_name, found)
    if not all(one.verdict.passed for one in found):
        raise typer.Exit(1)


async def _run(
    exchange: str,
    settings: Settings,
    timeframes: list[Timeframe],
    symbols: list[str] | None,
    since_ms: int | None,
    ask: bool,
    quiet: bool,
) -> list[Audited]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from livermore_dagster.audit.exchange_audit import audit as judge
    from livermore_dagster.audit.exchange_audit import plan_audit
    from livermore_dagster.ingest.context import open_context
    from livermore_dagster.platform.market_now import market_now
    from livermore_dagster.stores.postgres.symbols import read_canonical_symbols, require_symbols

    async with open_context(exchange, settings) as ctx:
        if symbols:
            async with ctx.pool.connection() as connection:
                await require_symbols(connection, ctx.row.id, ctx.row.name, symbols)
                known = await read_canonical_symbols(connection, ctx.row.id)
            # An alias is another name of data that is kept once (X3b).
            symbols = list(dict.fromkeys(known.get(symbol, symbol) for symbol in symbols))
        plan = await plan_audit(ctx, timeframes, symbols, since_ms, market_now(settings))
        columns = (
            TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("requests"),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), disable=quiet or not ask) as bar:
            task = bar.add_task(f"Audit of {exchange}", total=plan.requests)

            def on_page(timeframe: Timeframe, symbol: str) -> None:
                bar.update(task, advance=1, description=f"{symbol} {timeframe.value}")

            return await judge(plan, ask=ask, on_page=on_page)


def _print_json(exchange: str, found: Sequence[Audited]) -> None:
    import json

    checks = [
        {
            "timeframe": one.timeframe.value,
            "check": one.check,
            "passed": one.verdict.passed,
            "numbers": dict(one.verdict.numbers),
            "rows": one.verdict.rows,
        }
        for one in found
    ]
    passed = all(one.verdict.passed for one in found)
    typer.echo(json.dumps({"exchange": exchange, "passed": passed, "checks": checks}))


def _print_tables(display_name: str, found: Sequence[Audited]) -> None:
    from rich.table import Table
    from rich.text import Text

    from livermore_dagster.cli.console import console, plain_table

    out = console()
    table: Table = plain_table(
        f"Audit of {display_name}", ["timeframe", "check", ""], [], ["what was judged"]
    )
    table.columns[-1].no_wrap = False
    for one in found:
        mark = Text("good", style="green") if one.verdict.passed else Text("NOT", style="bold red")
        words = ", ".join(f"{name} {value}" for name, value in one.verdict.numbers.items())
        table.add_row(one.timeframe.value, one.check, mark, words)
    out.print(table)
    for one in found:
        if one.verdict.passed or not one.verdict.rows:
            continue
        names = list(one.verdict.rows[0])
        more = len(one.verdict.rows) - SHOWN
        detail = plain_table(f"{one.timeframe.value} {one.check}", names, [], [])
        for row in one.verdict.rows[:SHOWN]:
            detail.add_row(*("–" if row[name] is None else str(row[name]) for name in names))
        out.print(detail)
        if more > 0:
            out.print(f"… and {more:,} more: --json", style="dim")
