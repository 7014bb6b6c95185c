"""One entry per exchange and boundary, ever; one fetcher at a time."""

from __future__ import annotations

import asyncio
import threading

import redis
import redis.asyncio

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import boundaries
from livermore_dagster.stores.redis.client import connect, connect_async
from livermore_dagster.stores.redis.metrics import read_counters

B = 1_767_225_600_000
QUARTER = 900_000
FRAMES = (Timeframe.M15, Timeframe.H1)


async def raise_at(client: redis.asyncio.Redis, at_ms: int, exchange_id: int = 2) -> str | None:
    return await boundaries.raise_boundary(client, exchange_id, at_ms, FRAMES, ["BTC,A"], ['"É'], 77)


async def test_many_instances_raise_a_boundary_once(redis_url: str) -> None:
    clients = [connect_async(redis_url) for _ in range(6)]

    async def march(client: redis.asyncio.Redis) -> list[str | None]:
        return [await raise_at(client, B + step * QUARTER) for step in range(20)]

    answers = await asyncio.gather(*(march(client) for client in clients))
    assert sum(answer is not None for one in answers for answer in one) == 20
    with connect(redis_url) as sensor:
        events = boundaries.read_boundaries(sensor, {2: "0"}, 0, 100)
    assert [event.boundary_ms for event in events] == [B + step * QUARTER for step in range(20)]
    assert await read_counters(clients[0], 2) == {"boundaries": 20}
    assert await boundaries.last_raised(clients[0], 2) == B + 19 * QUARTER
    for client in clients:
        await client.aclose()


async def test_an_earlier_boundary_never_follows_a_later_one(client: redis.asyncio.Redis) -> None:
    assert await raise_at(client, B)
    assert await raise_at(client, B - QUARTER) is None
    assert await raise_at(client, B) is None
    assert await raise_at(client, B - QUARTER, exchange_id=1), "exchanges are apart"


async def test_the_sensor_reads_all_exchanges_at_once_from_its_cursor(
    redis_url: str, client: redis.asyncio.Redis
) -> None:
    first = await raise_at(client, B)
    await raise_at(client, B + QUARTER)
    await raise_at(client, B, exchange_id=1)
    assert first is not None
    with connect(redis_url) as sensor:
        found = boundaries.read_boundaries(sensor, {1: "0", 2: first, 4: "0"}, 0, 10)
        assert [(event.exchange_id, event.boundary_ms) for event in found] == [(1, B), (2, B + QUARTER)]
        assert found[0].timeframes == FRAMES
        assert (found[0].settled, found[0].unsettled, found[0].wall_ms) == (("BTC,A",), ('"É',), 77)
        cursor = {event.exchange_id: event.entry_id for event in found}
        assert boundaries.read_boundaries(sensor, cursor, 20, 10) == []


async def test_a_waiting_sensor_wakes_with_the_event(redis_url: str, client: redis.asyncio.Redis) -> None:
    found: list[boundaries.BoundaryEvent] = []

    def wait() -> None:
        with connect(redis_url, waits_for_news=True) as sensor:
            found.extend(boundaries.read_boundaries(sensor, {1: "0", 2: "0"}, 60_000, 10))

    thread = threading.Thread(target=wait)
    thread.start()
    await raise_at(client, B)
    await asyncio.to_thread(thread.join, 60)
    assert [event.boundary_ms for event in found] == [B]


async def test_one_fetcher_at_a_time_and_none_after_it_is_done(client: redis.asyncio.Redis) -> None:
    answers = await asyncio.gather(*(boundaries.begin(client, 2, B, f"run-{n}") for n in range(5)))
    assert sum(answers) == 1
    owner = f"run-{answers.index(True)}"
    assert await boundaries.begin(client, 2, B, owner), "its own again, after a retry"
    assert await boundaries.renew(client, 2, B, owner)
    assert not await boundaries.renew(client, 2, B, "other")
    assert not await boundaries.finish(client, 2, B, "other")
    assert await boundaries.last_handled(client, 2) is None
    assert await boundaries.finish(client, 2, B, owner)
    assert not await boundaries.begin(client, 2, B, "late", stale_ms=0)
    record = await boundaries.handled(client, 2, B)
    assert record is not None
    assert (record.state, record.by) == ("finished", owner)
    assert await boundaries.last_handled(client, 2) == B
    assert await boundaries.handled(client, 2, B + QUARTER) is None


async def test_a_dead_fetchers_boundary_is_taken_over(client: redis.asyncio.Redis) -> None:
    assert await boundaries.begin(client, 2, B, "dead")
    assert not await boundaries.begin(client, 2, B, "fallback")
    assert await boundaries.begin(client, 2, B, "fallback", stale_ms=0)
    assert not await boundaries.renew(client, 2, B, "dead"), "it learns that it lost the boundary"
    assert not await boundaries.finish(client, 2, B, "dead")
    assert await boundaries.finish(client, 2, B, "fallback")


async def test_old_records_are_dropped(client: redis.asyncio.Redis) -> None:
    for step in range(2 * boundaries.RECORDS_KEPT + 1):
        await boundaries.begin(client, 2, B + step * QUARTER, "run")
    newest = B + 2 * boundaries.RECORDS_KEPT * QUARTER
    assert await boundaries.handled(client, 2, newest) is not None
    assert await boundaries.handled(client, 2, newest - boundaries.RECORDS_KEPT * QUARTER) is None
    assert await boundaries.handled(client, 2, newest - (boundaries.RECORDS_KEPT - 1) * QUARTER) is not None
