"""The sink on a real cache: open candles conflate, closes keep their order and survive a server's absence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import redis

from livermore_dagster.clock import SystemClock
from livermore_dagster.ingest.candle_sink import CandleSink
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.closes import read_closes

M5 = Timeframe.M5
T0 = 1_767_657_600_000


def candle(bar: int, close: str, rank: Rank = Rank.OPEN, stamp: int = 0, symbol: str = "A") -> StampedCandle:
    open_ms = T0 + bar * M5.ms
    values = Candle(open_ms, "1", "9", "0.5", close, "3")
    return StampedCandle(
        symbol, M5, values, rank, stamp or open_ms + 1, Origin.LIVE, -1, open_ms + M5.ms + 1500
    )


class Older:
    def __init__(self) -> None:
        self.stored: list[StampedCandle] = []

    async def upsert(self, exchange_id: int, batch: Sequence[StampedCandle]) -> None:
        self.stored += batch


class Flaky(CandleCache):
    """A cache whose server is away for the first writes."""

    failures = 3
    calls = 0

    async def write(self, batch, wall_ms):
        self.calls += 1
        if self.calls <= self.failures:
            raise redis.ConnectionError("away")
        return await super().write(batch, wall_ms)


@pytest.fixture
async def client(redis_url) -> AsyncIterator:
    connection = connect_async(redis_url)
    yield connection
    await connection.aclose()


async def test_open_candles_conflate_and_closes_do_not(client) -> None:
    closed: list[StampedCandle] = []
    cache = CandleCache(client, 1)
    sink = CandleSink(cache, Older(), 1, SystemClock(), closed.append)
    for at in range(1_000):
        sink.offer([candle(0, str(at + 1), stamp=T0 + at + 1)])
    sink.offer([candle(0, "1000", Rank.FINAL), candle(1, "7", Rank.FINAL), candle(2, "8")])
    task = asyncio.create_task(sink.run())
    await asyncio.wait_for(sink.drained(), 30)
    task.cancel()
    held = await cache.read("A", M5, final_only=False)
    assert [(c.candle.open_ms, c.candle.close, c.rank) for c in held] == [
        (T0, "1000", Rank.FINAL),
        (T0 + M5.ms, "7", Rank.FINAL),
        (T0 + 2 * M5.ms, "8", Rank.OPEN),
    ]
    assert [c.candle.close for c in await read_closes(client, 1)] == ["1000", "7"]
    assert len(closed) == 2


async def test_nothing_is_lost_while_the_server_is_away(client) -> None:
    cache = Flaky(client, 1)
    closed: list[StampedCandle] = []
    sink = CandleSink(cache, Older(), 1, SystemClock(), closed.append)
    wanted = [candle(bar, str(bar + 1), Rank.FINAL) for bar in range(500)]
    sink.offer([*wanted, candle(500, "1")])
    for _ in range(Flaky.failures):
        with pytest.raises(redis.ConnectionError):
            await sink.run()
        assert sink.waiting == 500
    task = asyncio.create_task(sink.run())
    await asyncio.wait_for(sink.drained(), 30)
    task.cancel()
    got = await read_closes(client, 1)
    assert [c.candle.open_ms for c in got] == [c.candle.open_ms for c in wanted]
    assert closed == wanted


async def test_what_is_older_than_a_full_cache_goes_to_postgresql(client) -> None:
    older = Older()
    sink = CandleSink(CandleCache(client, 1, size=3), older, 1, SystemClock(), lambda _: None)
    sink.offer([candle(bar, "1", Rank.FINAL) for bar in (5, 6, 7)])
    task = asyncio.create_task(sink.run())
    await asyncio.wait_for(sink.drained(), 30)
    late = candle(1, "2", Rank.FINAL)
    sink.offer([late])
    await asyncio.wait_for(sink.drained(), 30)
    task.cancel()
    assert older.stored == [late]
