"""`livermore candles` and `indicators`: what is stored, for eyes and for scripts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.store_session import Home, Json

if TYPE_CHECKING:
    from livermore_dagster.cli.lookup import Series
    from livermore_dagster.platform.config import Settings

__all__ = ["candles", "indicators"]

Exchange = Annotated[str, typer.Argument(help="coinbase, binance, binance_us …")]
Symbol = Annotated[str, typer.Argument(help="The exchange's own id, like BTC-USD or BTCUSDT.")]
Frame = Annotated[str, typer.Argument(help="1m, 5m, 15m, 1h, 4h or 1d.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Newest so many.")]


def candles(
    exchange: Exchange, symbol: Symbol, timeframe: Frame, limit: Limit = 20, as_json: Json = False,
    home: Home = None,
) -> None:  # fmt: skip
    """Show the newest native candles of a series, the open one too.

    Example: livermore candles binance BTCUSDT 5m --limit 50
    """
    from livermore_dagster.cli.market_tables import show_candles

    series, rows = asyncio.run(_candles(_settings(home), exchange, symbol, timeframe, limit))
    if as_json:
        typer.echo(json.dumps(rows))
    elif rows:
        show_candles(f"{series.symbol} on {exchange}, {timeframe}", rows)
    else:
        typer.echo(
            f"No {timeframe} candle of {series.symbol} on {exchange} is stored. {series.why}", err=True
        )


def indicators(
    exchange: Exchange, symbol: Symbol, timeframe: Frame, limit: Limit = 20, as_json: Json = False,
    home: Home = None,
) -> None:  # fmt: skip
    """Show the newest MACD-V values of a series with their stages.

    Example: livermore indicators coinbase BTC-USD 1h --json
    """
    from livermore_dagster.cli.market_tables import show_values

    series, rows = asyncio.run(_indicators(_settings(home), exchange, symbol, timeframe, limit))
    if as_json:
        typer.echo(json.dumps(rows))
    elif rows:
        show_values(f"MACD-V of {series.symbol} on {exchange}, {timeframe}", rows)
    else:
        typer.echo(f"No {timeframe} value of {series.symbol} on {exchange} is stored. {series.why}", err=True)


def _settings(home: Path | None) -> Settings:
    from livermore_dagster.platform.attach import attach

    return attach(home)


async def _candles(
    settings: Settings, exchange: str, symbol: str, timeframe: str, limit: int
) -> tuple[Series, list[dict[str, Any]]]:
    from livermore_dagster.cli.lookup import find_series, open_stores
    from livermore_dagster.market.candle import Rank
    from livermore_dagster.stores.postgres.candles import CandleTable
    from livermore_dagster.stores.redis.candle_cache import CandleCache

    async with open_stores(settings) as stores:
        series = await find_series(stores.pool, exchange, symbol, timeframe)
        row, symbol, wanted = series.row, series.symbol, series.timeframe
        cache = CandleCache(stores.redis, row.id)
        found = await cache.read(symbol, wanted, min(limit, 1_000), final_only=False)
        if len(found) < limit:
            before = found[0].candle.open_ms if found else 1 << 62
            table = CandleTable(stores.pool)
            older = await table.read(row.id, symbol, wanted, 0, before, limit - len(found), newest=True)
            found = [*older, *found]
    states = {Rank.OPEN: "open", Rank.FINAL: "final", Rank.SETTLED: "settled"}
    return series, [
        {
            "open_ms": one.candle.open_ms,
            "open": one.candle.open,
            "high": one.candle.high,
            "low": one.candle.low,
            "close": one.candle.close,
            "volume": one.candle.volume,
            "state": states[one.rank],
        }
        for one in found
    ]


async def _indicators(
    settings: Settings, exchange: str, symbol: str, timeframe: str, limit: int
) -> tuple[Series, list[dict[str, Any]]]:
    from dataclasses import asdict

    from livermore_dagster.cli.lookup import find_series, open_stores
    from livermore_dagster.stores.postgres.indicators import read_indicators

    async with open_stores(settings) as stores:
        series = await find_series(stores.pool, exchange, symbol, timeframe)
        async with stores.pool.connection() as connection:
            found = await read_indicators(
                connection, series.row.id, series.symbol, series.timeframe, limit=limit
            )
    rows = []
    for one in found:
        facts = asdict(one)
        rows.append({"open_time_ms": facts.pop("open_ms"), **facts})
    return series, rows
