"""Parts are restarted with patience for servers and with little for bugs."""

from __future__ import annotations

import asyncio

import redis

from livermore_dagster.ingest.supervise import Supervisor


class FastClock:
    """Sleeps pass at once and are remembered; time is what was slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return int(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


async def _nothing(_part: str, _text: str) -> None:
    return None


async def test_a_bug_ends_the_service_after_five_failures() -> None:
    clock = FastClock()
    supervisor = Supervisor(clock, _nothing)
    runs = 0

    async def broken() -> None:
        nonlocal runs
        runs += 1
        raise KeyError("x")

    supervisor.start("broken", broken)
    assert isinstance(await asyncio.wait_for(supervisor.fatal, 60), KeyError)
    assert runs == 5
    assert clock.slept == sorted(clock.slept)


async def test_a_server_away_is_waited_for_without_end() -> None:
    clock = FastClock()
    told: list[tuple[str, str]] = []

    async def tell(part: str, text: str) -> None:
        told.append((part, text))

    supervisor = Supervisor(clock, tell)
    back = asyncio.Event()
    runs = 0

    async def part() -> None:
        nonlocal runs
        runs += 1
        if runs <= 40:
            raise redis.ConnectionError("no server")
        back.set()
        await asyncio.Event().wait()

    supervisor.start("sink", part)
    await asyncio.wait_for(back.wait(), 60)
    assert not supervisor.fatal.done()
    assert told == [("sink", "ConnectionError: no server")] * 40
    assert max(clock.slept) == 5.0
    assert "sink" in supervisor
    assert not await supervisor.ended("sink", within_s=0)
    await supervisor.stop()
    assert "sink" not in supervisor


async def test_a_part_that_returns_has_done_its_work() -> None:
    supervisor = Supervisor(FastClock(), _nothing)
    done = asyncio.Event()

    async def once() -> None:
        done.set()

    supervisor.start("once", once)
    await asyncio.wait_for(done.wait(), 60)
    assert await supervisor.ended("once", "never begun", within_s=60)
    assert "once" not in supervisor


async def test_stopping_cancels_what_the_part_waits_for() -> None:
    supervisor = Supervisor(FastClock(), _nothing)
    running, cleaned = asyncio.Event(), asyncio.Event()

    async def part() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    supervisor.start("part", part)
    await asyncio.wait_for(running.wait(), 60)
    await supervisor.stop("part")
    assert cleaned.is_set()
