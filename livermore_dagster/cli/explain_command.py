"""`livermore explain`: why a series has, or has not, a value or an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livermore_dagster.cli.store_session import Home

if TYPE_CHECKING:
    from livermore_dagster.market.explanation import Section
    from livermore_dagster.market.known_series import KnownSeries
    from livermore_dagster.platform.config import Settings

__all__ = ["explain"]

MARKS = {"good": ("✓", "green"), "wait": ("…", "yellow"), "bad": ("✖", "red"), "plain": ("·", "dim")}


def explain(
    exchange: Annotated[str, typer.Argument(help="coinbase, binance, binance_us …")],
    symbol: Annotated[str, typer.Argument(help="The exchange's own id, like BTC-USD or BTCUSDT.")],
    timeframe: Annotated[str, typer.Argument(help="1m, 5m, 15m, 1h, 4h or 1d.")],
    as_json: Annotated[bool, typer.Option("--json", help="Facts and sentences as one JSON object.")] = False,
    home: Home = None,
) -> None:
    """Say why a series has, or has not, a value or an alert: candles, gaps, MACD-V, rules, what comes next.

    ✓ is as it should be, … comes by itself, ✖ needs somebody; · only tells.

    Example: livermore explain binance BTCUSDT 1h
    """
    import asyncio
    import json
    from dataclasses import asdict

    from livermore_dagster.market.explanation import explain as explained
    from livermore_dagster.platform.attach import attach

    facts = asyncio.run(_gather(attach(home), exchange, symbol, timeframe))
    sections = explained(facts)
    if as_json:
        typer.echo(json.dumps({"facts": asdict(facts), "sections": [asdict(one) for one in sections]}))
    else:
        _print(facts, sections)


async def _gather(settings: Settings, exchange: str, symbol: str, timeframe: str) -> KnownSeries:
    from livermore_dagster.cli.lookup import find_series, open_stores
    from livermore_dagster.control.registry import read_instance
    from livermore_dagster.platform.explaining import gather_series
    from livermore_dagster.platform.watch import MarketTime
    from livermore_dagster.stores.redis.client import connect

    market_time = MarketTime.of(settings)
    async with open_stores(settings) as stores:
        series = await find_series(stores.pool, exchange, symbol, timeframe)
        with connect(settings.redis_url) as client:
            view = read_instance(client, series.row.id, series.row.name)
        return await gather_series(
            stores.redis, stores.pool, series.row, series.symbol, series.timeframe, market_time.now_ms(), view
        )


def _print(facts: KnownSeries, sections: list[Section]) -> None:
    from rich.table import Table
    from rich.text import Text

    from livermore_dagster.cli.console import console
    from livermore_dagster.market.moments import clock_text

    screen = console()
    title = Text.assemble(
        (f"{facts.symbol} {facts.timeframe.value} on {facts.exchange}", "bold"),
        (f"   {clock_text(facts.now_ms)}", "dim"),
    )
    screen.print(title)
    for section in sections:
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column(width=8, style="dim")
        table.add_column(width=1)
        table.add_column()
        for place, sentence in enumerate(section.sentences):
            mark, style = MARKS[sentence.tone]
            words = Text(sentence.text, "" if sentence.tone in ("good", "plain") else style)
            table.add_row(section.title if place == 0 else "", Text(mark, style), words)
        screen.print(table)
