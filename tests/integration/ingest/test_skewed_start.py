"""A warm-up that only REST tells the time, and tells it wrong: no open candle is taken for closed."""

from __future__ import annotations

import pytest

from livermore_dagster.exchanges.universe import rank_universe
from livermore_dagster.ingest import context
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.warmup import warm_up
from livermore_dagster.market.candle import Rank
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.simulator.clock import ManualClock
from livermore_dagster.simulator.server import Simulator
from tests.integration.ingest.played import Platform, point

BEFORE_MIDNIGHT = 1_767_657_600_000 - 3_000
"""2026-01-05T23:59:57Z: with four seconds more every timeframe has just closed a bar."""
AHEAD_MS = 4_000
TIMEFRAMES = (Timeframe.M5, Timeframe.M15, Timeframe.H1)


async def closed_too_early(redis_url: str, database_url: str, exchange: str) -> list[str]:
    """Candles of a warm-up that are stored as final though the market has not come to their end."""
    async with Simulator([exchange], seed=7, clock=ManualClock(BEFORE_MIDNIGHT), symbols=10) as market:
        await point(database_url, market.addresses(), TIMEFRAMES)
        market.exchanges[exchange].order(
            {"kind": "skew", "where": "rest", "skew_ms": AHEAD_MS, "duration_s": 600}
        )
        async with open_context(exchange, Platform(redis_url, database_url, {})) as ctx:
            symbols = [one.symbol for one in rank_universe(await ctx.client.products(), ctx.row, 2)]
            report = await warm_up(ctx, symbols, timeframes=TIMEFRAMES)
            assert report.stats.failed == []
            held = [
                one for tf in TIMEFRAMES for symbol in symbols for one in await ctx.cache.read(symbol, tf)
            ]
    assert len(held) > 100
    return [
        f"{one.symbol} {one.timeframe.value} {one.candle.open_ms}"
        for one in held
        if one.rank is not Rank.OPEN and one.end_ms > BEFORE_MIDNIGHT
    ]


@pytest.mark.parametrize("exchange", ["binance", "binance_us", "coinbase"])
async def test_a_clock_ahead_closes_nothing_early(redis_url: str, database_url: str, exchange: str) -> None:
    assert await closed_too_early(redis_url, database_url, exchange) == []


async def test_without_the_margin_it_would(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "REST_MARGIN_MS", 0)
    assert await closed_too_early(redis_url, database_url, "binance")
