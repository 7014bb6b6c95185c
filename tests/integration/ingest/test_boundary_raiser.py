"""Boundaries are raised once, in order, with what fell due; nobody's boundary is fetched here (P8)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from psycopg_pool import PoolTimeout

from livermore_dagster.errors import ExchangeUnavailable, RateLimited
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest import boundary_raiser
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import boundaries
from livermore_dagster.stores.redis.client import connect, connect_async
from livermore_dagster.stores.redis.symbol_events import read_symbol_events
from tests.integration.ingest.raising import MIDNIGHT, PATIENCE_S, STEP, Rig, until

BINANCE = next(row for row in ROWS if row.name == "binance")


@pytest.fixture
async def client(redis_url) -> AsyncIterator:
    connection = connect_async(redis_url)
    yield connection
    await connection.aclose()


@pytest.fixture
def sensor(redis_url) -> Iterator:
    with connect(redis_url) as connection:
        yield connection


async def test_raised_at_grace_once_by_the_clock_alone(client, sensor) -> None:
    rig = Rig(client)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT - STEP + 1_500)  # the first one it lives through is history
    await asyncio.sleep(0)
    rig.raiser.on_clock(MIDNIGHT + 1_499)
    rig.raiser.on_clock(MIDNIGHT + 1_500)
    (event,) = await rig.events(sensor, 1)
    assert event.boundary_ms == MIDNIGHT
    assert event.timeframes == (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)
    assert (event.settled, event.unsettled) == (("A",), ("B",))
    rig.raiser.on_clock(MIDNIGHT + 60_000)
    rig.raiser.on_clock(MIDNIGHT + STEP + 1_500)
    assert [e.boundary_ms for e in await rig.events(sensor, 2)] == [MIDNIGHT, MIDNIGHT + STEP]
    await rig.raiser.close()
    await rig.close()


async def test_two_instances_raise_one_entry(client, sensor) -> None:
    rig = Rig(client)
    other = rig.make("b")
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    for raiser in (rig.raiser, other):
        rig.run(raiser)
        raiser.on_clock(MIDNIGHT + 2_000)
    await rig.events(sensor, 2)
    for raiser in (rig.raiser, other):
        raiser.on_clock(MIDNIGHT + STEP + 2_000)
    found = await rig.events(sensor, 3)
    assert [e.boundary_ms for e in found] == [MIDNIGHT - STEP, MIDNIGHT, MIDNIGHT + STEP]
    await rig.raiser.close()
    await other.close()
    await rig.close()


async def test_a_backlog_is_one_event_with_the_union(client, sensor) -> None:
    rig = Rig(client)
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    await boundaries.begin(client, rig.row.id, MIDNIGHT - STEP, "x")
    await boundaries.finish(client, rig.row.id, MIDNIGHT - STEP, "x")
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 5 * STEP + 2_000)
    event = (await rig.events(sensor, 2))[1]
    assert event.boundary_ms == MIDNIGHT + 5 * STEP
    assert event.timeframes == (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)
    await rig.raiser.close()
    await rig.close()


async def test_fetched_here_only_when_nobody_begins_in_time(client, sensor, monkeypatch) -> None:
    monkeypatch.setattr(boundary_raiser, "_FALLBACK_S", 0.4)
    monkeypatch.setattr(boundary_raiser, "_MISSING_S", 0.5)
    rig = Rig(client)
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    # A run that waits for the event may begin too late on a machine that stands still for so long.
    assert await boundaries.begin(client, rig.row.id, MIDNIGHT, "run")
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await rig.events(sensor, 2)
    rig.raiser.on_clock(MIDNIGHT + STEP + 2_000)
    await asyncio.wait_for(rig.done.wait(), PATIENCE_S)
    assert rig.fetched == [(MIDNIGHT + STEP, (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1))]
    async with asyncio.timeout(PATIENCE_S):
        while not rig.told:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        why = "no run began the boundary of 2026-01-06 00:15 UTC within 0.5 s"
        assert rig.told == [f"coinbase: {why}; the live service began to fetch it 0.4 s after it was raised."]
        while (await boundaries.last_handled(client, rig.row.id)) != MIDNIGHT + STEP:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    record = await boundaries.handled(client, rig.row.id, MIDNIGHT + STEP)
    assert record is not None
    assert record.by == "a"
    await rig.raiser.close()
    await rig.close()


async def test_a_handled_boundary_is_told_whoever_handled_it(client, sensor, monkeypatch) -> None:
    for name in ("_FALLBACK_S", "_TAKE_OVER_S"):
        monkeypatch.setattr(boundary_raiser, name, 0.1)
    rig = Rig(client)
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    assert await boundaries.begin(client, rig.row.id, MIDNIGHT, "run")
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await rig.events(sensor, 2)
    await boundaries.finish(client, rig.row.id, MIDNIGHT, "run")
    async with asyncio.timeout(PATIENCE_S):
        while not rig.handled:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        rig.raiser.on_clock(MIDNIGHT + STEP + 2_000)
        while len(rig.handled) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert rig.handled == [MIDNIGHT, MIDNIGHT + STEP]
    assert [at for at, _ in rig.fetched] == [MIDNIGHT + STEP]
    await rig.raiser.close()
    await rig.close()


async def test_a_fetch_that_fails_is_tried_again(client, monkeypatch) -> None:
    for name in ("_FALLBACK_S", "_TAKE_OVER_S", "_MISSING_S"):
        monkeypatch.setattr(boundary_raiser, name, 0.05)
    rig = Rig(client)
    rig.failures = [PoolTimeout("no connection"), ConnectionResetError("gone"), ExchangeUnavailable("away")]
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await asyncio.wait_for(rig.done.wait(), PATIENCE_S)
    assert len(rig.fetched) == 4
    await until(lambda: rig.told)
    assert len(rig.told) == 1
    assert [text.rsplit(": ", 1)[1] for text in rig.failed] == ["no connection", "gone", "away"]
    await rig.raiser.close()
    await rig.close()


async def test_a_closed_budget_is_waited_out_however_long(client, monkeypatch) -> None:
    for name, seconds in (("_FALLBACK_S", 0.05), ("_TAKE_OVER_S", 0.05), ("_GIVE_UP_S", 0.2)):
        monkeypatch.setattr(boundary_raiser, name, seconds)
    rig = Rig(client)
    opens_ms = int(time.time() * 1000) + 1_000
    rig.failures = [RateLimited("closed", opens_ms)]
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await asyncio.wait_for(rig.done.wait(), PATIENCE_S)
    assert time.time() * 1000 >= opens_ms
    assert len(rig.fetched) == 2
    await rig.raiser.close()
    await rig.close()


async def test_what_fails_until_the_next_boundary_is_left_to_it(client, monkeypatch) -> None:
    for name in ("_FALLBACK_S", "_TAKE_OVER_S"):
        monkeypatch.setattr(boundary_raiser, name, 0.05)
    rig = Rig(client)
    rig.failures = [ExchangeUnavailable("away")]

    async def next_one() -> None:
        """The next is raised before the failed one is tried again."""
        rig.raiser.on_clock(MIDNIGHT + STEP + 2_000)
        await until(lambda: MIDNIGHT + STEP in rig.reached)

    rig.clock.looks = lambda: len(rig.failed) == 1 and not rig.clock.slept
    rig.clock.meanwhile = next_one
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await asyncio.wait_for(rig.done.wait(), PATIENCE_S)
    await until(lambda: len(rig.failed) >= 2)
    all_due = (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)
    assert rig.fetched == [(MIDNIGHT, all_due), (MIDNIGHT + STEP, all_due)]
    await rig.raiser.close()
    await rig.close()


async def test_it_gives_up_in_words(client, monkeypatch) -> None:
    for name, seconds in (("_FALLBACK_S", 0.05), ("_TAKE_OVER_S", 0.05), ("_GIVE_UP_S", 0.3)):
        monkeypatch.setattr(boundary_raiser, name, seconds)
    rig = Rig(client)
    rig.failures = [ExchangeUnavailable("away")] * 50
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await until(lambda: any("could not be fetched" in text for text in rig.failed))
    assert not rig.done.is_set()
    assert len(rig.failed) == 2, "the same failure is told once, and the end"
    assert rig.handled == []
    assert await boundaries.last_handled(client, rig.row.id) is None
    await rig.raiser.close()
    await rig.close()


async def test_what_a_few_series_lack_keeps_no_boundary_open(client, sensor, monkeypatch) -> None:
    for name, seconds in (("_FALLBACK_S", 0.05), ("_TAKE_OVER_S", 0.05), ("_GIVE_UP_S", 0.3)):
        monkeypatch.setattr(boundary_raiser, name, seconds)
    rig = Rig(client)
    rig.few_left = True
    rig.failures = [ExchangeUnavailable("1 of 20 series")] * 50
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await until(lambda: len(rig.failed) >= 2)
    assert "left to repair" in rig.failed[1]
    assert rig.handled == [MIDNIGHT]
    assert await boundaries.last_handled(client, rig.row.id) == MIDNIGHT
    rig.raiser.on_clock(MIDNIGHT + STEP + 2_000)
    assert (await rig.events(sensor, 3))[2].timeframes == (Timeframe.M15,)
    await rig.raiser.close()
    await rig.close()


async def test_a_day_is_told_of_once_however_long_its_candles_stay_due(client, sensor) -> None:
    rig = Rig(client)
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - 2 * STEP, [Timeframe.M15], [], [], 1)
    rig.run(rig.raiser)
    # Midnight itself was missed: the first boundary after it stands for it.
    for number in range(1, 4):
        rig.raiser.on_clock(MIDNIGHT + number * STEP + 2_000)
        found = await rig.events(sensor, number + 1)
        assert Timeframe.D1 in found[number].timeframes
    await rig.close()
    await rig.raiser.close()
    told = read_symbol_events(sensor, {rig.row.id: "0"}, 0, 100)
    assert [(one.kind, one.reason) for one in told] == [("day", "2026-01-06 00:15 UTC")]


async def test_what_is_streamed_is_raised_and_never_fetched(client, sensor, monkeypatch) -> None:
    monkeypatch.setattr(boundary_raiser, "_FALLBACK_S", 0.05)
    rig = Rig(client, BINANCE)
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    assert len(await rig.events(sensor, 2)) == 2
    await asyncio.sleep(0.2)
    assert rig.fetched == []
    await rig.close()


async def test_boundaries_passed_while_warming_are_raised_as_one(client, sensor) -> None:
    rig = Rig(client)
    raiser = rig.make("a", warm=False)
    rig.run(raiser)
    raiser.on_clock(MIDNIGHT - 2 * STEP + 2_000)
    raiser.on_clock(MIDNIGHT - STEP + 2_000)
    raiser.on_clock(MIDNIGHT + 2_000)
    await asyncio.sleep(0.05)
    assert rig.raised(sensor) == []
    raiser.open()
    (event,) = await rig.events(sensor, 1)
    await rig.close()
    assert event.boundary_ms == MIDNIGHT
    assert event.timeframes == (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)
