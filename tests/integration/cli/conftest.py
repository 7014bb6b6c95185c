"""Servers with a series, its values and an alert in them, and commands run on them in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from livermore_dagster.cli.app import main
from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.macdv import MacdvPoint
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import AlertRow, insert_alerts
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import open_pool
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.postgres.indicators import IndicatorRow, upsert_indicators
from livermore_dagster.stores.postgres.symbols import SymbolRow, upsert_symbols
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.client import connect_async

BEGIN = 1_767_225_600_000
M5 = Timeframe.M5
BINANCE, COINBASE = 2, 1


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Command = Callable[..., Done]


def candle(index: int) -> StampedCandle:
    prices = Candle(BEGIN + index * M5.ms, "100.5", "101.25", "99.125", "101", "12.5")
    end = prices.open_ms + M5.ms
    return StampedCandle("BTCUSDT", M5, prices, Rank.FINAL, end, Origin.LIVE, proven_ms=end)


def alert(index: int) -> AlertRow:
    open_ms = BEGIN + index * M5.ms
    return AlertRow(
        symbol="BTCUSDT", timeframe=M5, label="level_150", kind="level", direction="up", open_ms=open_ms,
        candle_end_ms=open_ms + M5.ms, triggered_ms=open_ms + M5.ms + 5, price="101", price_source="close",
        price_age_ms=0, macdv=151.5, signal=120.0, histogram=31.5, stage="overbought", previous_label=None,
        timeframes={}, bias="bullish", late=False, revised=False,
    )  # fmt: skip


@pytest.fixture
def filled(redis_url: str, database_url: str) -> None:
    """Eight candles in PostgreSQL, the last five and an open one in the cache; two values; one alert."""

    async def fill() -> None:
        redis = connect_async(redis_url)
        pool = await open_pool(database_url, None)
        try:
            async with pool.connection() as connection:
                await upsert_rows(connection, ROWS)
                names = ("BTCUSDT", "ETHUSDT")
                listed = [SymbolRow(name, name[:3], "USDT", True, volume_rank=1) for name in names]
                await upsert_symbols(connection, BINANCE, listed)
                alias = SymbolRow("BTC-USDC", "BTC", "USDC", True, alias_of="BTC-USD")
                await upsert_symbols(connection, COINBASE, [SymbolRow("BTC-USD", "BTC", "USD", True), alias])
                points = [
                    MacdvPoint(BEGIN + 6 * M5.ms, None, None, None, True, 59, 59, BEGIN, None),
                    MacdvPoint(BEGIN + 7 * M5.ms, 151.5, 120.0, 31.5, True, 60, 60, BEGIN, None),
                ]
                rows = [IndicatorRow("BTCUSDT", M5, point) for point in points]
                await upsert_indicators(connection, BINANCE, rows, "live")
                await insert_alerts(connection, BINANCE, [alert(7)])
            await CandleTable(pool).upsert(BINANCE, [candle(index) for index in range(8)])
            now = candle(8)
            still_open = StampedCandle("BTCUSDT", M5, now.candle, Rank.OPEN, now.stamp_ms, Origin.LIVE)
            batch = [*(candle(index) for index in range(3, 8)), still_open]
            await CandleCache(redis, BINANCE, exchange_name="binance").write(batch, SystemClock().now_ms())
        finally:
            await redis.aclose()
            await pool.close()

    asyncio.run(fill())


@pytest.fixture
def command(
    redis_url: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """`livermore ARGUMENTS` with these servers named by the environment; keywords replace variables."""
    platform = {
        "LIVERMORE_HOME": str(tmp_path),
        "LIVERMORE_REDIS_URL": redis_url,
        "LIVERMORE_DATABASE_URL": database_url,
        "LIVERMORE_PROVENANCE": "live",
    }

    def run(*arguments: str, **replaced: str) -> Done:
        for name, value in {**platform, **replaced}.items():
            monkeypatch.setenv(name, value)
        code = 0
        try:
            main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return run
