"""Why a boundary was fetched by the live service: told once, whatever ends meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from livermore_dagster.ingest import boundary_raiser
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import boundaries, keys
from livermore_dagster.stores.redis.client import connect_async
from tests.integration.ingest.raising import MIDNIGHT, PATIENCE_S, STEP, Rig, until


@pytest.fixture
async def client(redis_url) -> AsyncIterator:
    connection = connect_async(redis_url)
    yield connection
    await connection.aclose()


async def test_a_run_that_begins_late_is_not_missed_and_its_boundary_not_kept_waiting(
    client, monkeypatch
) -> None:
    monkeypatch.setattr(boundary_raiser, "_FALLBACK_S", 0.1)
    monkeypatch.setattr(boundary_raiser, "_MISSING_S", 0.2)
    rig = Rig(client)
    # Between its judge's looks: the first sees none.
    rig.clock.looks = lambda: rig.begun
    rig.clock.meanwhile = lambda: boundaries.run_lives(client, rig.row.id, MIDNIGHT)
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await asyncio.wait_for(rig.done.wait(), PATIENCE_S)
    await until(lambda: rig.waited)
    assert rig.told == []
    assert "the run of the boundary of 2026-01-06 00:00 UTC began late" in rig.waited[0]
    await rig.raiser.close()
    await rig.close()


async def behind_an_older_run(client, monkeypatch, missing_s: float = 0.2) -> Rig:
    """A rig that has fetched MIDNIGHT itself while the run of the boundary before it was at work."""
    monkeypatch.setattr(boundary_raiser, "_FALLBACK_S", 0.1)
    monkeypatch.setattr(boundary_raiser, "_MISSING_S", missing_s)
    rig = Rig(client)
    rig.clock.looks = lambda: rig.begun
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    await boundaries.run_lives(client, rig.row.id, MIDNIGHT - STEP)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await asyncio.wait_for(rig.done.wait(), PATIENCE_S)
    return rig


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (MIDNIGHT, "the run of the boundary of 2026-01-06 00:00 UTC began late"),
        (MIDNIGHT + STEP, "the boundary of 2026-01-06 00:00 UTC waits for the run of 2026-01-06 00:15 UTC"),
    ],
)
async def test_a_run_that_waits_for_another_is_not_missed(client, monkeypatch, run: int, why: str) -> None:
    """A fast market's boundaries overtake its runs; who waits behind one at work is no fault of Dagster's."""
    rig = await behind_an_older_run(client, monkeypatch)
    await until(lambda: rig.clock.slept > 3)  # some looks
    assert rig.told == rig.waited == []
    await boundaries.run_lives(client, rig.row.id, run)
    await until(lambda: rig.waited)
    assert [text.split(";")[0] for text in rig.waited] == [f"coinbase: {why}"]
    await rig.raiser.close()
    assert rig.told == []
    assert rig.begun == [MIDNIGHT]
    await rig.close()


async def test_a_run_that_never_comes_after_the_one_before_it_is_missed(client, monkeypatch) -> None:
    """Who starts the runs died with the one at work, or just after it."""
    rig = await behind_an_older_run(client, monkeypatch)
    await until(lambda: rig.clock.slept)  # it has been seen at work
    assert rig.told == []
    await client.pexpire(keys.boundary_run(rig.row.id), 1)
    await until(lambda: rig.told)
    why = "no run began the boundary of 2026-01-06 00:00 UTC after the one of 2026-01-05 23:45 UTC"
    assert [text.split(";")[0] for text in rig.told] == [f"coinbase: {why}"]
    assert rig.waited == []
    await rig.raiser.close()
    await rig.close()


async def test_a_run_that_goes_on_for_ever_is_not_watched_for_ever(client, monkeypatch) -> None:
    monkeypatch.setattr(boundary_raiser, "_JUDGED_S", 0.3)
    rig = await behind_an_older_run(client, monkeypatch)
    await until(lambda: rig.waited)
    assert "waits for the run of 2026-01-05 23:45 UTC" in rig.waited[0]
    assert rig.told == []
    await rig.raiser.close()
    await rig.close()


async def fetched_alone(client, monkeypatch) -> Rig:
    """A rig that has fetched MIDNIGHT itself, long before a run that comes late would be missed."""
    monkeypatch.setattr(boundary_raiser, "_FALLBACK_S", 0.1)
    rig = Rig(client)
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await asyncio.wait_for(rig.done.wait(), PATIENCE_S)
    return rig


async def test_a_pause_or_an_end_hides_no_missing_run(client, monkeypatch) -> None:
    rig = await fetched_alone(client, monkeypatch)
    assert rig.begun == [MIDNIGHT]
    assert rig.told == []
    await rig.raiser.close()
    await rig.raiser.close()
    assert [text.split(";")[0] for text in rig.told] == [
        "coinbase: no run had begun the boundary of 2026-01-06 00:00 UTC when its watch was ended"
    ]
    assert rig.waited == []
    assert rig.begun == [MIDNIGHT]
    await rig.close()


async def test_at_a_pause_or_an_end_a_run_at_work_is_not_missed(client, monkeypatch) -> None:
    monkeypatch.setattr(boundary_raiser, "_LAST_LOOK_S", PATIENCE_S)
    rig = await behind_an_older_run(client, monkeypatch, missing_s=30.0)
    await rig.raiser.close()
    assert rig.told == []
    assert len(rig.waited) == 1
    await rig.close()


async def test_an_end_waits_for_no_redis(client, monkeypatch) -> None:
    rig = await fetched_alone(client, monkeypatch)
    await until(lambda: rig.handled)
    server = int((await client.info("server"))["process_id"])
    os.kill(server, signal.SIGSTOP)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await rig.raiser.close()
    finally:
        os.kill(server, signal.SIGCONT)
    assert len(rig.told) == 1
    await rig.close()


async def test_a_run_that_died_over_its_boundary_is_told_so(client, monkeypatch) -> None:
    for name in ("_FALLBACK_S", "_TAKE_OVER_S"):
        monkeypatch.setattr(boundary_raiser, name, 0.1)
    # A begun boundary is anybody's at once, as it is after half a minute without a sign of life.
    monkeypatch.setattr(boundaries.begin, "__kwdefaults__", {"stale_ms": 0})
    rig = Rig(client)
    await boundaries.raise_boundary(client, rig.row.id, MIDNIGHT - STEP, [Timeframe.M15], [], [], 1)
    await boundaries.run_lives(client, rig.row.id, MIDNIGHT - STEP)
    assert await boundaries.begin(client, rig.row.id, MIDNIGHT, "run:1")
    rig.run(rig.raiser)
    rig.raiser.on_clock(MIDNIGHT + 2_000)
    await asyncio.wait_for(rig.done.wait(), PATIENCE_S)
    await until(lambda: rig.told)
    assert [text.split(";")[0] for text in rig.told] == [
        "coinbase: who began the boundary of 2026-01-06 00:00 UTC has died or failed"
    ]
    assert rig.begun == [MIDNIGHT]
    await rig.raiser.close()
    await rig.close()
