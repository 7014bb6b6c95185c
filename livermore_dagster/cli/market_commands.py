"""`livermore candles`, `indicators` and `alerts`: what is stored, for eyes and for scripts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from livermore_dagster.errors import UnknownSymbol, UnsupportedTimeframe

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from livermore_dagster.market.exchange import ExchangeRow
    from livermore_dagster.market.timeframe import Timeframe
    from livermore_dagster.platform.config import Settings
    from livermore_dagster.stores.postgres.connect import Pool

__all__ = ["alerts", "candles", "indicators"]

Exchange = Annotated[str, typer.Argument(help="coinbase, binance, binance_us …")]
Symbol = Annotated[str, typer.Argument(help="The exchange's own id, like BTC-USD or BTCUSDT.")]
Frame = Annotated[str, typer.Argument(help="1m, 5m, 15m, 1h, 4h or 1d.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Newest so many.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Home = Annotated[Path | None, typer.Option(metavar="DIR", help="Which platform, where several run.")]


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


def alerts(
    exchange: Annotated[str | None, typer.Option("--exchange", "-e", help="Of this exchange only.")] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", "-s", help="Of this symbol only.")] = None,
    limit: Limit = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Then show new ones as they come.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show the newest alerts; with --follow, new ones as they come, until Ctrl-C.

    Example: livermore alerts --exchange binance --follow
    """
    from livermore_dagster.cli.market_tables import show_alerts

    settings = _settings(home)
    rows = asyncio.run(_alerts(settings, exchange, symbol, limit))
    if as_json:
        # Followed, each alert is a line of its own: a list would never end.
        for text in [json.dumps(row) for row in rows] if follow else [json.dumps(rows)]:
            typer.echo(text)
    elif rows:
        show_alerts(rows)
    else:
        typer.echo("No alert is stored yet.", err=True)
    if follow:
        try:
            asyncio.run(
                _follow(settings, exchange, symbol, max((row["id"] for row in rows), default=0), as_json)
            )
        except KeyboardInterrupt:
            return


def _settings(home: Path | None) -> Settings:
    from livermore_dagster.platform.config import Settings

    return Settings.discover(home)


async def _pool(settings: Settings) -> Pool:
    from livermore_dagster.stores.postgres.connect import open_pool

    return await open_pool(settings.database_url, settings.database_ca, name="livermore-cli", wait=True)


@dataclass(frozen=True)
class _Series:
    row: ExchangeRow
    symbol: str
    """Canonical: an alias given has been followed."""
    timeframe: Timeframe

    @property
    def why(self) -> str:
        """What to do where nothing is stored."""
        if self.timeframe not in self.row.streamed_timeframes and self.timeframe.ms < 900_000:
            history = f"livermore backfill {self.row.name} --timeframes {self.timeframe.value}"
            return f"{self.row.name} does not stream {self.timeframe.value}; for its history: {history}"
        return f"Is {self.row.name} started with that symbol? See: livermore status"


async def _series(pool: Pool, exchange: str, symbol: str, timeframe: str) -> _Series:
    """Raises what names the wrong exchange, symbol or timeframe (R6)."""
    from livermore_dagster.market.timeframe import Timeframe

    wanted = Timeframe.parse(timeframe)
    async with pool.connection() as connection:
        row = await _exchange(connection, exchange)
        if wanted not in row.timeframes:
            raise UnsupportedTimeframe(timeframe, exchange, [tf.value for tf in row.timeframes])
        return _Series(row, await _canonical(connection, row, symbol), wanted)


async def _exchange(connection: AsyncConnection[Any], name: str) -> ExchangeRow:
    """Raises UnknownExchange or InactiveExchange."""
    from livermore_dagster.exchanges.factory import require_active, row_named
    from livermore_dagster.stores.postgres.exchanges import load_exchanges

    rows = await load_exchanges(connection)
    return require_active(row_named(name, rows), rows)


async def _canonical(connection: AsyncConnection[Any], row: ExchangeRow | None, symbol: str) -> str:
    """The id under which a symbol's data is kept, on one exchange or any. Raises UnknownSymbol."""
    found = await connection.execute(
        "SELECT symbol, coalesce(alias_of, symbol) FROM exchange_symbols"
        " WHERE %(id)s::smallint IS NULL OR exchange_id = %(id)s ORDER BY volume_rank NULLS LAST, symbol",
        {"id": row.id if row is not None else None},
    )
    aliases = dict(await found.fetchall())
    if symbol not in aliases:
        raise UnknownSymbol(symbol, row.name if row is not None else "any exchange", aliases)
    return str(aliases[symbol])


async def _candles(
    settings: Settings, exchange: str, symbol: str, timeframe: str, limit: int
) -> tuple[_Series, list[dict[str, Any]]]:
    from livermore_dagster.market.candle import Rank
    from livermore_dagster.stores.postgres.candles import CandleTable
    from livermore_dagster.stores.redis.candle_cache import CandleCache
    from livermore_dagster.stores.redis.client import connect_async

    redis = connect_async(settings.redis_url)
    pool = await _pool(settings)
    try:
        series = await _series(pool, exchange, symbol, timeframe)
        row, symbol, wanted = series.row, series.symbol, series.timeframe
        found = await CandleCache(redis, row.id).read(symbol, wanted, min(limit, 1_000), final_only=False)
        if len(found) < limit:
            before = found[0].candle.open_ms if found else 1 << 62
            table = CandleTable(pool)
            older = await table.read(row.id, symbol, wanted, 0, before, 1_000_000)
            found = [*older[-(limit - len(found)) :], *found]
    finally:
        await redis.aclose()
        await pool.close()
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
) -> tuple[_Series, list[dict[str, Any]]]:
    from dataclasses import asdict

    from livermore_dagster.stores.postgres.indicators import read_indicators

    pool = await _pool(settings)
    try:
        series = await _series(pool, exchange, symbol, timeframe)
        async with pool.connection() as connection:
            found = await read_indicators(
                connection, series.row.id, series.symbol, series.timeframe, limit=limit
            )
    finally:
        await pool.close()
    rows = []
    for one in found:
        facts = asdict(one)
        rows.append({"open_time_ms": facts.pop("open_ms"), **facts})
    return series, rows


async def _alerts(
    settings: Settings, exchange: str | None, symbol: str | None, limit: int, after_id: int = 0
) -> list[dict[str, Any]]:
    from livermore_dagster.stores.postgres.alerts import read_alerts

    pool = await _pool(settings)
    try:
        async with pool.connection() as connection:
            row = await _exchange(connection, exchange) if exchange is not None else None
            if symbol is not None:
                symbol = await _canonical(connection, row, symbol)
            found = await read_alerts(
                connection, exchange=exchange, symbol=symbol, after_id=after_id, limit=limit
            )
    finally:
        await pool.close()
    rows = []
    for one in found:
        alert = one.alert
        rows.append(
            {
                "id": alert.id, "source_exchange": one.exchange, "symbol": alert.symbol,
                "timeframe": alert.timeframe.value, "label": alert.label, "kind": alert.kind,
                "direction": alert.direction, "open_ms": alert.open_ms, "candle_end_ms": alert.candle_end_ms,
                "triggered_ms": alert.triggered_ms, "price": alert.price, "price_source": alert.price_source,
                "price_age_ms": alert.price_age_ms, "value": alert.macdv, "signal": alert.signal,
                "histogram": alert.histogram, "stage": alert.stage, "previous_label": alert.previous_label,
                "bias": alert.bias, "timeframes": alert.timeframes, "late": alert.late,
                "revised": alert.revised, "withdrawn_ms": one.withdrawn_ms, "published_ms": one.published_ms,
                "attempt": alert.attempt,
            }
        )  # fmt: skip
    return rows


async def _follow(
    settings: Settings, exchange: str | None, symbol: str | None, seen: int, as_json: bool
) -> None:
    """Shows what is published, and first what was stored between the table and the subscription."""
    from livermore_dagster.cli.console import console
    from livermore_dagster.cli.market_tables import alert_line
    from livermore_dagster.stores.redis.client import connect_async

    redis = connect_async(settings.redis_url)
    pubsub = redis.pubsub()
    shown: set[int] = set()
    screen = console()

    def show(row: dict[str, Any]) -> None:
        fits = exchange in (None, row["source_exchange"]) and symbol in (None, row["symbol"])
        if row["id"] > seen and row["id"] not in shown and fits:
            shown.add(row["id"])
            if as_json:
                typer.echo(json.dumps(row))
            else:
                screen.print(alert_line(row), soft_wrap=True)

    try:
        await pubsub.psubscribe("channel:alerts:*")
        for row in await _alerts(settings, exchange, symbol, 1_000, seen):
            show(row)
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                show(cast("dict[str, Any]", json.loads(message["data"])))
    finally:
        await cast("Any", pubsub).aclose()
        await redis.aclose()
