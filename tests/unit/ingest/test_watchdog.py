"""The watchdog reconnects what is open and dead, and leaves alone what is merely quiet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.watchdog import Watchdog


class StepClock:
    """Each sleep moves time by what was asked; after `until` seconds the test is over."""

    def __init__(self, until: float) -> None:
        self.at = 0.0
        self.until = until
        self.over = asyncio.Event()
        self.each = lambda: None

    def now_ms(self) -> int:
        return int(self.at * 1000)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.each()
        if self.at >= self.until:
            self.over.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)


class Rig:
    def __init__(self, traded: bool | Exception, until: float = 200.0) -> None:
        self.clock = StepClock(until)
        self.connection = SimpleNamespace(name="x-1#1", last_frame_at=0.0, opened_at=0.0)
        self.updated = {"x-1#1": 0.0}
        self.reconnects: list[tuple[float, str]] = []
        self.looks: list[float] = []
        self.heard: dict[str, float] = {}
        self.traded = traded
        self.line = SimpleNamespace(
            name="x-1", symbols=tuple("ABCDEF"), connection=self.connection, reconnect=self._reconnect
        )

    def _reconnect(self, reason: str) -> None:
        self.reconnects.append((self.clock.at, reason))
        self.connection.last_frame_at = self.connection.opened_at = self.clock.at

    async def look(self, symbol: str) -> bool:
        assert symbol == "A"
        self.looks.append(self.clock.at)
        if isinstance(self.traded, Exception):
            raise self.traded
        return self.traded

    async def run(self) -> None:
        hub = SimpleNamespace(lines=[self.line])
        watchdog = Watchdog(
            hub, self.heard, self.look, self.clock, lambda line, reason: None, Patience(), self.updated
        )
        task = asyncio.create_task(watchdog.run())
        await asyncio.wait_for(self.clock.over.wait(), 60)
        task.cancel()


async def test_thirty_seconds_without_any_message() -> None:
    rig = Rig(traded=False, until=65)
    await rig.run()
    assert [at for at, _ in rig.reconnects] == [30.0, 60.0]


async def test_heartbeats_over_dead_candles_are_confirmed_by_one_look() -> None:
    rig = Rig(traded=True, until=100)
    rig.clock.each = lambda: setattr(rig.connection, "last_frame_at", rig.clock.at)
    await rig.run()
    assert rig.looks == [60.0]
    assert rig.reconnects == [(60.0, "A, B, C, D, E silent for 60 s while they trade")]


@pytest.mark.parametrize("answer", [False, ExchangeUnavailable("no")])
async def test_a_quiet_market_is_looked_at_once_a_minute(answer: bool | Exception) -> None:
    rig = Rig(traded=answer)
    rig.clock.each = lambda: setattr(rig.connection, "last_frame_at", rig.clock.at)
    await rig.run()
    assert rig.looks == [60.0, 120.0, 180.0]
    assert rig.reconnects == []


async def test_one_liquid_symbol_that_speaks_is_enough() -> None:
    rig = Rig(traded=True)

    def speak() -> None:
        rig.connection.last_frame_at = rig.heard["C"] = rig.clock.at

    rig.clock.each = speak
    await rig.run()
    assert rig.looks == []


async def test_tickers_do_not_hide_candles_that_never_came() -> None:
    rig = Rig(traded=True, until=100)
    del rig.updated["x-1#1"]

    def speak() -> None:
        rig.connection.last_frame_at = rig.heard["C"] = rig.clock.at

    rig.clock.each = speak
    await rig.run()
    words = "A, B, C, D, E without any candle since it was opened, for 60 s while they trade"
    assert rig.reconnects == [(60.0, words)]
