"""From close to alert on real servers: `python -m tests.bench.signals [--json] [--profile FILE]`.

Wall time from the write of a proven close to the message on the alerts channel, the alert being stored by
then: of single closes, and of the last of 1,000 symbols whose candles close in the same moment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import math
import random
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.rows import BINANCE
from livermore_dagster.ingest.outbox import Outbox
from livermore_dagster.ingest.signals import SignalsConsumer
from livermore_dagster.market.alert_rules import RuleState, judge
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle, canonical
from livermore_dagster.market.macdv import batch
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.connect import open_pool
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.client import connect_async
from tests.bench.stores import postgres, valkey

TF = Timeframe.M5
BEGIN = 1_767_225_600_000
WARM = 220
ALERTS = 300
SYMBOLS = 1_000
ROUNDS = 7
WRITTEN_AT_ONCE = 200


def market(bars: int, seed: int) -> list[Candle]:
    """A market that runs up and down hard enough to cross levels often."""
    draw = random.Random(seed)
    price, drift, found = 100.0, 0.0, []
    for index in range(bars):
        if index % 12 == 0:
            drift = draw.choice((-0.004, 0.004))
        before = price
        price *= math.exp(drift + draw.gauss(0, 0.001))
        numbers = (before, max(before, price) * 1.0005, min(before, price) * 0.9995, price)
        found.append(Candle(BEGIN + index * TF.ms, *(canonical(f"{n:.8f}") for n in numbers), "5"))
    return found


def alerting(candles: Sequence[Candle]) -> set[int]:
    """Opens of the candles that raise an alert, the rules beginning at WARM."""
    columns = batch(
        *([float(getattr(c, name)) if name != "open_ms" else c.open_ms for c in candles]
          for name in ("open_ms", "high", "low", "close", "volume")),
        TF,
    )  # fmt: skip
    rules, found = RuleState(), set()
    for index in range(WARM, len(candles)):
        before, point = columns.point(index - 1), columns.point(index)
        end_ms = point.open_ms + TF.ms
        rules, raised = judge(rules, before.macdv, point.macdv, point.histogram, end_ms)
        if raised:
            found.add(point.open_ms)
    return found


class Ear(threading.Thread):
    """Hears the alerts channel as an outsider does, and notes when."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._client = redis.Redis.from_url(url, socket_timeout=None, retry=Retry(NoBackoff(), 0))
        self._pubsub = self._client.pubsub()
        self._pubsub.subscribe(keys.channel_alerts(BINANCE.id))
        self._pubsub.get_message(timeout=1)
        self._loop = asyncio.get_running_loop()
        self._wanted = 0
        self.heard: list[float] = []
        self.enough = asyncio.Event()
        self.start()

    def expect(self, count: int) -> None:
        self.heard, self._wanted = [], count
        self.enough.clear()

    def run(self) -> None:
        with contextlib.suppress(redis.ConnectionError):  # the server ends before this thread does
            for _ in self._pubsub.listen():
                self.heard.append(time.perf_counter())
                if len(self.heard) == self._wanted:
                    self._loop.call_soon_threadsafe(self.enough.set)


class Bench:
    """Closes go in as the live service writes them; the consumer and the outbox run beside."""

    def __init__(self, client: Any, pool: Any, ear: Ear) -> None:
        self.client = client
        self.pool = pool
        self.ear = ear
        self.cache = CandleCache(client, BINANCE.id, exchange_name="binance")

    async def close(self, candles: Sequence[tuple[str, Candle]], origin: Origin = Origin.LIVE) -> None:
        batch = [
            StampedCandle(symbol, TF, candle, Rank.FINAL, candle.open_ms + TF.ms, origin,
                          proven_ms=candle.open_ms + TF.ms + 1_500)
            for symbol, candle in candles
        ]  # fmt: skip
        for at in range(0, len(batch), WRITTEN_AT_ONCE):
            await self.cache.write(batch[at : at + WRITTEN_AT_ONCE], SystemClock().now_ms())

    async def settled(self) -> None:
        while True:
            groups = await self.client.xinfo_groups(keys.closes(BINANCE.id))
            mine = [one for one in groups if one["name"] == keys.CLOSES_GROUP_SIGNALS]
            if mine and not mine[0]["pending"] and not mine[0]["lag"]:
                return
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        outbox = Outbox(self.client, self.pool, BINANCE)
        consumer = SignalsConsumer(self.client, self.pool, BINANCE, outbox=outbox)
        tasks = [asyncio.create_task(consumer.run(stop)), asyncio.create_task(outbox.run(stop))]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def singles(self) -> list[float]:
        """Milliseconds of each close that alerted, one after the other."""
        candles = market(WARM + 4 * ALERTS, 1)
        loud = alerting(candles)
        took: list[float] = []
        await self.close([("ONEUSDT", candle) for candle in candles[:WARM]], Origin.WARMUP)
        await self.settled()
        for candle in candles[WARM:]:
            self.ear.expect(1)
            began = time.perf_counter()
            await self.close([("ONEUSDT", candle)])
            if candle.open_ms in loud:
                await self.ear.enough.wait()
                took.append((self.ear.heard[0] - began) * 1_000)
            await self.settled()
            if len(took) == ALERTS:
                break
        return took

    async def together(self) -> list[float]:
        """Milliseconds until the last of SYMBOLS alerts, by round."""
        candles = market(WARM + 40 * ROUNDS, 2)
        loud = alerting(candles)
        symbols = [f"S{n}USDT" for n in range(SYMBOLS)]
        for candle in range(0, WARM, 55):
            rows = candles[candle : candle + 55]
            await self.close([(symbol, row) for symbol in symbols for row in rows], Origin.WARMUP)
            await self.settled()
        took: list[float] = []
        for candle in candles[WARM:]:
            self.ear.expect(SYMBOLS)
            began = time.perf_counter()
            await self.close([(symbol, candle) for symbol in symbols])
            if candle.open_ms in loud:
                await self.ear.enough.wait()
                took.append((self.ear.heard[SYMBOLS - 1] - began) * 1_000)
            await self.settled()
            if len(took) == ROUNDS:
                break
        return took


async def measure(profile: cProfile.Profile | None = None) -> dict[str, float]:
    with valkey() as redis_url, postgres() as database_url:
        client = connect_async(redis_url)
        pool = await open_pool(database_url, None)
        bench = Bench(client, pool, Ear(redis_url))
        async with bench.running():
            if profile:
                profile.enable()
            singles = sorted(await bench.singles())
            together = await bench.together()
            if profile:
                profile.disable()
        await pool.close()
        await client.aclose()
    return {
        "alerts": len(singles),
        "close_to_alert_ms_p50": statistics.median(singles),
        "close_to_alert_ms_p99": singles[int(len(singles) * 0.99)],
        "last_of_1000_ms_median": statistics.median(together),
        "last_of_1000_ms_max": max(together),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--profile", help="write a profile of the consumer's process to this file")
    given = parser.parse_args()
    profile = cProfile.Profile() if given.profile else None
    found = asyncio.run(measure(profile))
    if profile:
        profile.dump_stats(given.profile)
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.writelines(f"{name:32} {value:12,.2f}\n" for name, value in found.items())


if __name__ == "__main__":
    main()
