"""`livermore near-alerts`: who is close to a level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livermore_dagster.cli.store_session import Home, Json

if TYPE_CHECKING:
    from livermore_dagster.market.timeframe import Timeframe
    from livermore_dagster.platform.board import NearAlert
    from livermore_dagster.platform.config import Settings

__all__ = ["near_alerts"]

ALL_COLUMNS = 96
"""Columns a terminal needs for stage and price, too."""


def near_alerts(
    exchanges: Annotated[
        list[str] | None, typer.Argument(help="Exchanges; default: all that monitor something.")
    ] = None,
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", "--timeframes", "-t", help="Only these, such as 1h or 1h,4h.")
    ] = None,
    within: Annotated[
        float | None, typer.Option(metavar="POINTS", min=0, help="At most so many MACD-V points away.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="The closest so many.")] = 20,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show the series closest to a level (±150, ±200 … ±400) that they can still cross outwards.

    Speed is in MACD-V points per candle, positive towards the level; bars says how many candles it takes
    at that speed. Stale values are left out, and exchanges that are not active.

    Example: livermore near-alerts binance --timeframe 1h,4h --within 20
    """
    import asyncio
    import json

    from livermore_dagster.cli.arguments import some_timeframes
    from livermore_dagster.platform.attach import attach

    chosen = some_timeframes(timeframe, "--timeframe")
    found = asyncio.run(_read(attach(home), exchanges or [], chosen, within, limit))
    if as_json:
        typer.echo(json.dumps([one.as_dict() for one in found]))
    elif found:
        _print(found)
    else:
        near = f" within {within:g} points of a level" if within is not None else " with a fresh value"
        typer.echo(f"No series is{near} now. See: livermore board, livermore status", err=True)


async def _read(
    settings: Settings,
    exchanges: list[str],
    timeframes: tuple[Timeframe, ...] | None,
    within: float | None,
    limit: int,
) -> list[NearAlert]:
    from livermore_dagster.cli.lookup import active_rows, open_stores
    from livermore_dagster.platform.board import FLOWING, read_standing
    from livermore_dagster.platform.board import near_alerts as find
    from livermore_dagster.platform.watch import MarketTime
    from livermore_dagster.stores.redis.overview import read_monitored

    market_time = MarketTime.of(settings)
    async with open_stores(settings) as stores:
        async with stores.pool.connection() as connection:
            rows = await active_rows(connection, exchanges)
        standing = await read_standing(stores.redis, rows)
        monitored = await read_monitored(stores.redis, rows)
        for row in rows:
            if standing[row.id] != FLOWING and (monitored[row.id] or exchanges):
                typer.echo(f"{row.name} is {standing[row.id]}: left out.", err=True)
        flowing = [row for row in rows if standing[row.id] == FLOWING]
        return await find(
            stores.redis, flowing, market_time.now_ms(), timeframes=timeframes, within=within, limit=limit
        )


def _print(found: list[NearAlert]) -> None:
    from rich.text import Text

    from livermore_dagster.cli.board_table import age_text
    from livermore_dagster.cli.console import PlainTable, console
    from livermore_dagster.cli.market_tables import STAGE_COLOURS

    screen = console()
    full = screen.width >= ALL_COLUMNS
    # One blank between columns, so that 80 hold them.
    table = PlainTable(
        title="Close to a level", title_justify="left", title_style="bold", header_style="dim",
        box=None, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    for name in ("exchange", "symbol", "tf"):
        table.add_column(name, no_wrap=True)
    for name in ("MACD-V", "level", "points", "speed", "bars"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    if full:
        table.add_column("price", justify="right", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    for one in found:
        near = one.near
        up = near.direction == "up"
        approaching = near.bars is not None
        cells: list[str | Text] = [
            one.exchange,
            Text(one.symbol, "bold"),
            one.timeframe.value,
            f"{one.value:+.1f}",
            Text(f"{'↑' if up else '↓'}{near.level:+d}", "red" if up else "green"),
            Text(f"{near.distance:.1f}", "bold" if approaching else ""),
            Text(
                "–" if near.speed is None else f"{round(near.speed, 1) + 0.0:+.1f}",
                "" if approaching else "dim",
            ),
            "–" if near.bars is None else f"{min(near.bars, 999):.1f}",
            Text(one.stage + (" (warming)" if one.warming else ""), STAGE_COLOURS[one.stage]),
        ]
        if full:
            cells.append(one.price or "–")
        table.add_row(*cells, Text(age_text(one.age_ms), "dim"))
    screen.print(table)
