"""Who takes closes has connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest

from livermore_dagster.ingest.consumers import Consumers
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.supervise import Supervisor
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from tests.integration.ingest.played import Platform, played

START = 1_767_657_600_000
PATIENCE_S = 60.0


async def _untold(part: str, text: str) -> None:
    raise AssertionError(f"{part} failed: {text}")


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["coinbase"], speed=1.0, start_ms=START + 30_000) as platform:
        yield platform


async def test_closes_are_stored_while_a_warm_up_holds_every_other_connection(market: Platform) -> None:
    async with open_context("coinbase", market, closes=True) as ctx, AsyncExitStack() as held:
        for _ in range(ctx.pool.max_size):
            await held.enter_async_context(ctx.pool.connection())
        supervisor = Supervisor(ctx.clock, _untold)
        board = SimpleNamespace(token="of the claim")  # noqa: S106 - no secret
        consumers = Consumers(ctx, board, supervisor)  # type: ignore[arg-type]
        consumers.start([])
        candle = Candle(START - Timeframe.M5.ms, "1", "2", "1", "2", "3")
        stamped = StampedCandle("BTC-USD", Timeframe.M5, candle, Rank.FINAL, START, Origin.WARMUP, 1, START)
        await ctx.cache.write([stamped], ctx.clock.now_ms())
        async with asyncio.timeout(PATIENCE_S):
            while not market.query("SELECT 1 FROM candles WHERE exchange_id = 1"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await consumers.finish()
        await supervisor.stop()
