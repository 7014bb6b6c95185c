"""A monitored symbol that falls silent has the product list looked at, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from livermore_dagster.ingest.context import ExchangeContext, open_context
from livermore_dagster.ingest.silences import Silences
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from tests.integration.ingest.played import IDS, Platform, played

START_MS = 1_767_655_800_000
M15 = Timeframe.M15.ms


class HurryingClock:
    def now_ms(self) -> int:
        return START_MS

    def monotonic(self) -> float:
        return START_MS / 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["binance"], 1.0, START_MS) as platform:
        yield platform


async def hold(ctx: ExchangeContext, symbol: str, from_ms: int, bars: int, volume: str) -> None:
    batch = [
        StampedCandle(
            symbol,
            Timeframe.M1,
            Candle(at, "1", "1", "1", "1", volume),
            Rank.FINAL,
            at + 60_000,
            Origin.LIVE,
            1,
            at + 60_000,
        )
        for at in range(from_ms, from_ms + bars * 60_000, 60_000)
    ]
    await ctx.cache.write(batch, START_MS)


async def test_of_steady_and_silent_symbols_only_the_one_that_stopped_is_doubted(market: Platform) -> None:
    begin = START_MS - 4 * M15
    async with open_context("binance", market, clock=HurryingClock()) as ctx:
        await hold(ctx, "GOESON", begin, 75, "1")
        await hold(ctx, "STOPS", begin, 50, "1")
        await hold(ctx, "FILLS", begin, 50, "1")
        await hold(ctx, "FILLS", begin + 50 * 60_000, 10, "0")
        for at in range(0, 50, 5):
            await hold(ctx, "SPARSE", begin + at * 60_000, 1, "1")
        silences = Silences(ctx, lambda: ["GOESON", "STOPS", "FILLS", "SPARSE", "NEW"])
        part = asyncio.create_task(silences.run())
        try:
            for boundary in (START_MS - M15, START_MS, START_MS + M15):
                silences.raised(boundary)
                while silences._judged_ms != boundary and not part.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert not part.done()
        finally:
            part.cancel()
        entries = await ctx.redis.xrange(keys.symbol_events(IDS["binance"]))
        told = [(fields["kind"], fields["symbol"]) for _, fields in entries]
        assert told == [("doubt", "STOPS"), ("doubt", "FILLS")]
