"""What an exchange refuses to stream is looked up in its product list, and asked for again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.subscribing import Subscriptions


class StepClock:
    """Each sleep moves time by what was asked."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)


async def test_a_refused_symbol_is_doubted_and_asked_for_again() -> None:
    clock, done = StepClock(), asyncio.Event()
    doubted: list[tuple[float, str]] = []
    asked: list[tuple[float, list[str]]] = []

    async def resubscribe(*, add: list[str], remove: list[str]) -> None:
        asked.append((clock.at, add))
        done.set()

    async def doubt(symbol: str, why: str) -> None:
        doubted.append((clock.at, symbol))

    stats = SimpleNamespace(subscribe_retries=0)
    connection = SimpleNamespace(name="x-1#1", stats=stats, resubscribe=resubscribe)
    line = SimpleNamespace(connection=connection)
    hub = SimpleNamespace(lines=[line], line_of=lambda name: line)
    pipeline = SimpleNamespace(refused={"x-1#1": {"GONE-USD"}})
    part = Subscriptions(hub, pipeline, SimpleNamespace(), clock, Patience(refused_again_s=60.0), doubt)
    task = asyncio.create_task(part.refused())
    async with asyncio.timeout(60):
        await done.wait()
    task.cancel()
    assert doubted == [(60.0, "GONE-USD")]
    assert asked == [(60.0, ["GONE-USD"])]
    assert pipeline.refused == {}
