"""`livermore backfill`: an exchange's older candles into PostgreSQL, resumably."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livermore_dagster.cli.arguments import moment, timeframes_of
from livermore_dagster.cli.store_session import Home

if TYPE_CHECKING:
    from livermore_dagster.ingest.backfill import BackfillReport
    from livermore_dagster.ingest.context import ExchangeContext
    from livermore_dagster.market.timeframe import Timeframe
    from livermore_dagster.platform.config import Settings

__all__ = ["backfill"]


def backfill(
    exchange: Annotated[str, typer.Argument(help="Name of the exchange, such as binance.")],
    symbols: Annotated[
        str | None,
        typer.Option(help="Top so many by volume, or a list: BTC-USD,ETH-USD. Default: those monitored."),
    ] = None,
    timeframes: Annotated[
        str | None,
        typer.Option(
            "--timeframes", "--timeframe", "-t", help="A list such as 1h,4h. Default: all the exchange has."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="From when, ISO 8601 (2026-01-05T00:00:00Z). Default: the newest 300 bars."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for scripts.")] = False,
    home: Home = None,
) -> None:
    """Fetch what PostgreSQL lacks of an exchange's candles. Interrupt it at will: it resumes where it was.

    Example: livermore backfill binance --timeframes 1h,4h --since 2025-01-01
    """
    import asyncio

    from livermore_dagster.exchanges.factory import require_active, row_named
    from livermore_dagster.platform.attach import attach
    from livermore_dagster.platform.options import parse_symbols
    from livermore_dagster.platform.watch import MarketTime

    row = require_active(row_named(exchange))
    wanted = timeframes_of(timeframes, row.name, row.timeframes)
    choice = parse_symbols(symbols)
    settings = attach(home)
    since_ms = moment(since, "--since", MarketTime.of(settings).now_ms())
    try:
        report = asyncio.run(_run(exchange, settings, choice, wanted, since_ms, quiet=as_json))
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was fetched is kept: the same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    _show(report, as_json)
    if report.failed:
        raise typer.Exit(1)


async def _run(
    exchange: str,
    settings: Settings,
    choice: object,
    timeframes: list[Timeframe],
    since_ms: int | None,
    *,
    quiet: bool,
) -> BackfillReport:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from livermore_dagster.ingest.backfill import BackfillProgress
    from livermore_dagster.ingest.backfill import backfill as fill
    from livermore_dagster.ingest.context import open_context

    async with open_context(exchange, settings) as ctx:
        symbols = await _symbols(ctx, choice)
        # A timeframe the exchange refused when probed has left the row since.
        timeframes_of(",".join(timeframes), exchange, ctx.row.timeframes)
        bar = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("requests"),
            TimeRemainingColumn(), TextColumn("{task.fields[candles]} candles"),
            console=Console(stderr=True), disable=quiet,
        )  # fmt: skip
        with bar:
            task = bar.add_task(f"Backfill of {exchange}", total=None, candles=0)

            def on_progress(progress: BackfillProgress) -> None:
                bar.update(
                    task, total=progress.pages_total, completed=progress.pages_done,
                    candles=f"{progress.candles:,}", description=progress.current,
                )  # fmt: skip

            return await fill(ctx, symbols, timeframes, since_ms, on_progress)


async def _symbols(ctx: ExchangeContext, choice: object) -> list[str]:
    """Canonical ids of those chosen, or else those monitored. Raises UnknownSymbol."""
    import json

    from livermore_dagster.errors import BadSetting
    from livermore_dagster.exchanges.contract import Priority
    from livermore_dagster.exchanges.universe import resolve_symbols
    from livermore_dagster.stores.redis import keys
    from livermore_dagster.stores.redis.desired import SymbolChoice

    if isinstance(choice, SymbolChoice):
        return resolve_symbols(choice, await ctx.client.products(Priority.BROWSE), ctx.row)
    monitored = await ctx.redis.get(keys.monitored(ctx.row.id))
    if not monitored:
        raise BadSetting(
            f"No instance of {ctx.row.name} monitors symbols.", "Name them: --symbols 20, or a list."
        )
    return [str(symbol) for symbol in json.loads(monitored)]


def _show(report: BackfillReport, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    if as_json:
        typer.echo(json.dumps(asdict(report)))
        return
    typer.echo(
        f"{report.requests} requests, {report.candles:,} candles, {report.stored:,} new or changed, "
        f"{report.skipped_bars:,} bars not asked for, {report.seconds:.1f} s."
    )
    for one in report.failed:
        typer.secho(f"{one['symbol']} {one['timeframe']}: {one['reason']}", fg=typer.colors.RED, err=True)
