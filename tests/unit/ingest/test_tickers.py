"""Tickers on their way: the newest of each symbol, and none of a symbol that has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.contract import TickerFrame
from livermore_dagster.ingest.tickers import TickerSink


class Pausing(SystemClock):
    """Its sleeps end when the test says so."""

    def __init__(self) -> None:
        self.pauses: asyncio.Queue[None] = asyncio.Queue()
        self.paused = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.paused.set()
        await self.pauses.get()
        self.paused.clear()


async def test_what_waits_of_a_symbol_that_is_removed_is_not_written() -> None:
    clock, written = Pausing(), list[list[tuple[str, str]]]()

    async def write(batch: Sequence[TickerFrame]) -> None:
        written.append([(one.symbol, one.price) for one in batch])

    sink = TickerSink(write, clock)
    running = asyncio.create_task(sink.run())
    for price, at in (("1", 10), ("3", 30), ("2", 20)):
        sink.offer(ticker("AAA", price, at))
    await clock.paused.wait()
    sink.offer(ticker("AAA", "4", 40))
    sink.offer(ticker("BBB", "5", 40))
    sink.forget(["AAA", "NEVER"])
    clock.paused.clear()
    clock.pauses.put_nowait(None)
    await clock.paused.wait()
    running.cancel()
    assert written == [[("AAA", "3")], [("BBB", "5")]]


def ticker(symbol: str, price: str, event_ms: int) -> TickerFrame:
    return TickerFrame(symbol, price, None, None, None, None, None, None, None, event_ms)
