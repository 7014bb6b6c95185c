"""A raiser of boundaries on a real Redis, and what it was heard to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.boundary_raiser import BoundaryRaiser
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import boundaries

COINBASE = next(row for row in ROWS if row.name == "coinbase")
STEP = Timeframe.M15.ms
MIDNIGHT = 1_767_657_600_000  # 2026-01-06T00:00:00Z
PATIENCE_S = 30.0


async def until(found: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not found():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _nothing() -> None:
    return None


class Between(SystemClock):
    """Before each sleep that begins once `looks()` holds, `meanwhile` happens first."""

    def __init__(self) -> None:
        self.looks: Callable[[], object] = lambda: False
        self.meanwhile: Callable[[], Awaitable[None]] = _nothing
        self.slept = 0
        """How many of those sleeps have begun."""

    async def sleep(self, seconds: float) -> None:
        if self.looks():
            self.slept += 1
            await self.meanwhile()
        await super().sleep(seconds)


class Rig:
    def __init__(self, client, row=COINBASE) -> None:
        self.client = client
        self.clock = Between()
        self.reached: list[int] = []
        self.row = row
        self.fetched: list[tuple[int, tuple[Timeframe, ...]]] = []
        self.told: list[str] = []
        self.waited: list[str] = []
        self.failed: list[str] = []
        self.begun: list[int] = []
        self.handled: list[int] = []
        self.few_left = False
        self.failures: list[Exception] = []
        self.done = asyncio.Event()
        self.raiser = self.make("a")
        self.tasks: list[asyncio.Task[None]] = []

    def make(self, by: str, *, warm: bool = True) -> BoundaryRaiser:
        raiser = BoundaryRaiser(
            self.client,
            self.row,
            self.clock,
            grace_ms=1500,
            by=by,
            settled=lambda boundary: (["A"], ["B"]),
            fetch=self.fetch,
            on_fallback=self.tell,
            on_failure=self.tell_failure,
            on_begun=self.begun.append,
            on_raised=self.reached.append,
            on_handled=self.note_handled,
            leave=lambda boundary: self.few_left,
        )
        if warm:
            raiser.open()
        return raiser

    async def fetch(self, boundary_ms: int, timeframes: Sequence[Timeframe]) -> None:
        self.fetched.append((boundary_ms, tuple(timeframes)))
        if self.failures:
            raise self.failures.pop(0)
        self.done.set()

    def tell(self, text: str, missing: bool) -> None:
        (self.told if missing else self.waited).append(text)

    async def note_handled(self, boundary_ms: int, timeframes: Sequence[Timeframe]) -> None:
        self.handled.append(boundary_ms)

    async def tell_failure(self, text: str) -> None:
        self.failed.append(text)

    def run(self, raiser: BoundaryRaiser) -> None:
        self.tasks.append(asyncio.create_task(raiser.run()))

    def raised(self, sensor) -> list[boundaries.BoundaryEvent]:
        return boundaries.read_boundaries(sensor, {self.row.id: "0"}, 0, 100)

    async def events(self, sensor, count: int) -> list[boundaries.BoundaryEvent]:
        await until(lambda: len(self.raised(sensor)) >= count)
        return self.raised(sensor)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
