"""Lines reconnect with back-off, hand over before the exchange cuts them, and tell every break."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Self

import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.backoff import Backoff
from livermore_dagster.exchanges.connection import ConnectionLost
from livermore_dagster.exchanges.contract import BudgetRule, Heartbeat, Quirks, StreamEvent
from livermore_dagster.exchanges.gate import Gate
from livermore_dagster.ingest.connections import ConnectionHub, Line, Wiring


def quirks(lifetime_s: float | None = None, per_connection: int = 2) -> Quirks:
    return Quirks(
        closed_flag=False,
        rest_rows=300,
        rest_fills_empty=False,
        grace_ms=1500,
        symbols_per_connection=per_connection,
        client_messages_per_s=8,
        lifetime_s=lifetime_s,
        client_ping_s=None,
        budget=BudgetRule(10, 1000),
    )


class FakeConnection:
    """A socket the test feeds: events, or an exception that ends it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: asyncio.Queue[list[StreamEvent] | ConnectionLost] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.last_frame_at = self.opened_at = 0.0

    async def __aenter__(self) -> Self:
        self.opened.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed.set()

    async def __aiter__(self) -> AsyncIterator[list[StreamEvent]]:
        while True:
            item = await self.queue.get()
            if isinstance(item, ConnectionLost):
                raise item
            yield item


class Recorder:
    """A stream sink that remembers."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.changed = asyncio.Event()

    def _note(self, what: str, connection: str) -> None:
        self.log.append((what, connection))
        self.changed.set()

    def on_open(self, connection: str, symbols: Sequence[str]) -> None:
        self._note("open", connection)

    def on_events(self, connection: str, events: Sequence[StreamEvent]) -> None:
        self._note("events", connection)

    def on_break(self, connection: str, reason: str) -> None:
        self._note(f"break {reason}", connection)

    def on_failure(self, connection: str, reason: str) -> None:
        self._note(f"failure {reason}", connection)

    def on_limited(self, connection: str, status: int, reason: str) -> None:
        self._note(f"limited {status}", connection)

    def on_unrenewed(self, connection: str) -> None:
        self._note("unrenewed", connection)

    async def ready(self) -> None:
        return None

    async def until(self, *wanted: tuple[str, str]) -> None:
        async with asyncio.timeout(60):
            while not set(wanted) <= set(self.log):
                self.changed.clear()
                await self.changed.wait()


class Hasty(SystemClock):
    """Its pauses are a fortieth as long."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 40)


class Rig:
    def __init__(self, lifetime_s: float | None = None) -> None:
        self.sink = Recorder()
        self.made: dict[str, FakeConnection] = {}
        wiring = Wiring(quirks(lifetime_s), self.connect, self.sink, Hasty(), lambda: None)
        self.line = Line("x-1", ["A"], wiring, Gate(wiring.clock))

    def connect(self, _symbols: Sequence[str], name: str) -> FakeConnection:
        self.made[name] = FakeConnection(name)
        return self.made[name]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    task = asyncio.create_task(made.line.run())
    yield made
    task.cancel()
    await asyncio.wait({task})
    assert all(connection.closed.is_set() for connection in made.made.values())


async def test_a_lost_connection_is_told_and_replaced(rig: Rig) -> None:
    await rig.sink.until(("open", "x-1#1"))
    rig.made["x-1#1"].queue.put_nowait([Heartbeat()])
    rig.made["x-1#1"].queue.put_nowait(ConnectionLost("code 1006"))
    await rig.sink.until(("open", "x-1#2"))
    assert rig.sink.log == [
        ("open", "x-1#1"),
        ("events", "x-1#1"),
        ("break code 1006", "x-1#1"),
        ("open", "x-1#2"),
    ]
    assert rig.line.up
    assert rig.line.reconnects == 1


async def test_a_forced_reconnect_gives_its_reason(rig: Rig) -> None:
    await rig.sink.until(("open", "x-1#1"))
    rig.line.reconnect("no message for 30 s")
    await rig.sink.until(("break no message for 30 s", "x-1#1"), ("open", "x-1#2"))


async def test_renewal_has_the_new_socket_up_before_the_old_one_closes(rig: Rig) -> None:
    await rig.sink.until(("open", "x-1#1"))
    rig.line.renew()
    await rig.sink.until(("open", "x-1#2"))
    assert not rig.made["x-1#1"].closed.is_set()
    rig.made["x-1#2"].queue.put_nowait([Heartbeat()])
    await rig.sink.until(("break renewed", "x-1#1"))
    assert rig.made["x-1#1"].closed.is_set()
    assert not rig.made["x-1#2"].closed.is_set()
    assert rig.line.reconnects == 0


async def test_a_renewal_that_fails_keeps_the_old_socket(rig: Rig) -> None:
    await rig.sink.until(("open", "x-1#1"))
    rig.line.renew()
    await rig.sink.until(("open", "x-1#2"))
    rig.made["x-1#2"].queue.put_nowait(ConnectionLost("refused"))
    await rig.sink.until(("break refused", "x-1#2"), ("unrenewed", "x-1#1"))
    rig.made["x-1#1"].queue.put_nowait([Heartbeat()])
    await rig.sink.until(("events", "x-1#1"))
    assert rig.line.up


async def test_a_line_renews_before_its_lifetime_ends() -> None:
    rig = Rig(lifetime_s=1.2)
    task = asyncio.create_task(rig.line.run())
    await rig.sink.until(("open", "x-1#2"))
    rig.made["x-1#2"].queue.put_nowait([Heartbeat()])
    await rig.sink.until(("break renewed", "x-1#1"))
    task.cancel()
    await asyncio.wait({task})


def test_symbols_are_spread_in_rank_order() -> None:
    def connect(_symbols: Sequence[str], name: str) -> FakeConnection:
        return FakeConnection(name)

    wiring = Wiring(quirks(), connect, Recorder(), SystemClock(), lambda: None)
    hub = ConnectionHub("x", list("ABCDE"), wiring)
    assert [line.symbols for line in hub.lines] == [("A", "B"), ("C", "D"), ("E",)]
    assert hub.line_of("x-2#7") is hub.lines[1]
    assert hub.line_of("y-1#1") is None
    assert hub.line_with("D") is hub.lines[1]
    assert hub.line_with("F") is None


def test_backoff_grows_is_capped_and_forgets_only_after_a_stable_connection() -> None:
    backoff = Backoff(random.Random(1))
    delays = [backoff.delay(1.0) for _ in range(12)]
    assert delays[0] <= 0.5
    assert all(30 <= delay <= 60 for delay in delays[8:])
    assert backoff.breaker_open
    assert backoff.delay(29.0) >= 30
    assert backoff.delay(31.0) <= 0.5
    assert not backoff.breaker_open
    assert backoff.delay(0.0, retryable=False) >= 30
