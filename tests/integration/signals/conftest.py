"""A candle cache, a database with the exchanges' rows, and closes to feed a signals consumer with."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.outbox import Outbox
from livermore_dagster.ingest.signals import SignalsConsumer
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle, canonical
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import StoredAlert, read_alerts
from livermore_dagster.stores.postgres.connect import Pool, open_pool
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.client import connect_async

BEGIN = 1_767_225_600_000
PATIENCE_S = 60.0
"""For what others do, and the consumer's own where no test is about that: a machine may stand still."""
BINANCE = next(row for row in ROWS if row.name == "binance")


def walk(bars: int, seed: int = 1, tf: Timeframe = Timeframe.M5, calm: bool = False) -> list[Candle]:
    """Candles of a market with runs long enough to cross levels both ways."""
    draw = random.Random(seed)
    price, found, drift = 100.0, [], 0.0
    for index in range(bars):
        if index % 25 == 0:
            drift = draw.choice([-0.004, -0.002, 0.002, 0.004])
        before = price
        price *= math.exp((0 if calm else drift) + draw.gauss(0, 0.0015))
        high, low = max(before, price) * 1.0005, min(before, price) * 0.9995
        numbers = [canonical(f"{number:.8f}") for number in (before, high, low, price)]
        found.append(Candle(BEGIN + index * tf.ms, *numbers, "5"))
    return found


@dataclass
class Signals:
    """The consumer and its outbox over real servers."""

    redis: redis.asyncio.Redis
    pool: Pool
    row: ExchangeRow
    cache: CandleCache

    async def close(
        self,
        candles: Sequence[Candle],
        symbol: str = "AAAUSDT",
        tf: Timeframe = Timeframe.M5,
        origin: Origin = Origin.LIVE,
        rank: Rank = Rank.FINAL,
        proven_ms: int | None = None,
    ) -> None:
        batch = [
            StampedCandle(
                symbol, tf, candle, rank, candle.open_ms + tf.ms, origin,
                proven_ms=proven_ms or candle.open_ms + tf.ms + 1_500,
            )
            for candle in candles
        ]  # fmt: skip
        await self.cache.write(batch, SystemClock().now_ms())

    async def warm(self, at_ms: int, *, computed_ms: int = 0) -> None:
        """AAAUSDT's warm-up was through at `at_ms`; 5m is computed since `computed_ms` (exchange clock)."""
        await self.redis.hset(keys.warmed(self.row.id), "AAAUSDT", str(at_ms))
        await self.redis.hset(keys.computed(self.row.id), "5m", str(computed_ms))

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[SignalsConsumer]:
        """Consumer and outbox at work; ended cleanly."""
        stop = asyncio.Event()
        outbox = Outbox(self.redis, self.pool, self.row)
        options = {"patience_s": PATIENCE_S, **options}
        consumer = SignalsConsumer(self.redis, self.pool, self.row, outbox=outbox, block_ms=20, **options)
        tasks = [asyncio.create_task(consumer.run(stop)), asyncio.create_task(outbox.run(stop))]
        try:
            yield consumer
        finally:
            stop.set()
            await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)

    async def settle(self) -> None:
        """Until every close is acknowledged and every alert published."""
        await self.until(self._settled)

    async def _settled(self) -> bool:
        groups = await self.redis.xinfo_groups(keys.closes(self.row.id))
        mine = [group for group in groups if group["name"] == keys.CLOSES_GROUP_SIGNALS]
        if not mine or mine[0]["pending"] or mine[0]["lag"]:
            return False
        return all(one.published_ms is not None for one in await self.alerts())

    async def until(self, holds: Callable[[], Any], timeout_s: float = PATIENCE_S) -> None:
        async with asyncio.timeout(timeout_s):
            while not await holds():  # noqa: ASYNC110 - the servers have no event for it
                await asyncio.sleep(0.005)

    async def heard(self, pubsub: Any) -> list[dict[str, Any]]:
        """What was published on a subscribed channel until now: it comes before the answer to a ping."""
        found: list[dict[str, Any]] = []
        await pubsub.ping()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await pubsub.get_message(timeout=1.0)
                if message is not None and message["type"] == "message":
                    found.append(json.loads(message["data"]))
                elif message is not None and message["type"] == "pong":
                    return found

    async def alerts(self) -> list[StoredAlert]:
        async with self.pool.connection() as connection:
            return await read_alerts(connection, limit=10_000)

    async def labels(self, *, standing: bool = True) -> list[tuple[int, str]]:
        """(open, label) of the alerts that stand."""
        return [
            (one.alert.open_ms, one.alert.label)
            for one in await self.alerts()
            if not standing or one.withdrawn_ms is None
        ]


@pytest.fixture
async def signals(redis_url: str, database_url: str) -> AsyncIterator[Signals]:
    client = connect_async(redis_url)
    pool = await open_pool(database_url, None, name="test")
    async with pool.connection() as connection:
        await upsert_rows(connection, ROWS)
    yield Signals(client, pool, BINANCE, CandleCache(client, BINANCE.id, exchange_name="binance"))
    await pool.close()
    await client.aclose()
