"""Keeps connections up: spread over symbols, reconnected, renewed before the exchange cuts them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.exchanges.backoff import STABLE_S, Backoff
from livermore_dagster.exchanges.connection import Connection, ConnectionLost
from livermore_dagster.exchanges.contract import Quirks, StreamEvent
from livermore_dagster.exchanges.gate import Gate

__all__ = ["RENEWED", "STOPPED", "ConnectionHub", "Line", "StreamSink", "Wiring"]

log = structlog.get_logger(__name__)

_RENEW_AT: Final = 0.9
"""Share of a connection's allowed lifetime after which it is renewed."""
_OVERLAP_S: Final = 2.0
"""Old and new socket both deliver for this long, so that nothing falls between them."""
_ESTABLISH_S: Final = 15.0
_CLOSE_S: Final = 1.0

RENEWED: Final = "renewed"
STOPPED: Final = "stopped"
"""Ends of a connection that are ours, not a trouble."""

Connect = Callable[[Sequence[str], str], Connection]
"""Makes an unopened connection of these symbols with this name."""


class StreamSink(Protocol):
    """Where events go. Nothing of it waits but `ready`, which holds readers back while ingest is paused."""

    def on_open(self, connection: str, symbols: Sequence[str]) -> None: ...
    def on_events(self, connection: str, events: Sequence[StreamEvent]) -> None: ...
    def on_break(self, connection: str, reason: str) -> None: ...
    def on_failure(self, connection: str, reason: str) -> None:
        """It never opened."""
        ...

    def on_limited(self, connection: str, status: int, reason: str) -> None:
        """It was refused for the rate (429) or because this address is banned (418)."""
        ...

    def on_unrenewed(self, connection: str) -> None:
        """No successor could be had for it yet."""
        ...

    async def ready(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wiring:
    """What every line of an exchange hangs on. `on_change` is called when a connection comes or goes."""

    quirks: Quirks
    connect: Connect
    sink: StreamSink
    clock: Clock
    on_change: Callable[[], None]
    stable_s: float = STABLE_S
    gate: Gate | None = None
    """None: one of these lines alone."""


@dataclass(slots=True)
class _Session:
    """One socket of a line: its task and, once open, its connection."""

    name: str
    task: asyncio.Task[ConnectionLost | None] | None = None
    connection: Connection | None = None
    opened_at: float | None = None
    end_reason: str = ""
    told: bool = False
    """The sink knows of its end."""
    opened: asyncio.Event = field(default_factory=asyncio.Event)


class Line:
    """One connection's worth of symbols, over as many sockets in turn as it takes."""

    def __init__(self, name: str, symbols: Sequence[str], wiring: Wiring, gate: Gate) -> None:
        self.name = name
        self.symbols = tuple(symbols)
        self.backoff = Backoff(stable_s=wiring.stable_s)
        self.reconnects = 0
        self.last_reason = ""
        self._quirks = wiring.quirks
        self._connect = wiring.connect
        self._sink = wiring.sink
        self._clock = wiring.clock
        self._on_change = wiring.on_change
        self._gate = gate
        self._generation = 0
        self._current: _Session | None = None
        self._renew = asyncio.Event()
        self.leaving = False
        """Other lines carry its symbols: its end is part of a renewal."""

    @property
    def up(self) -> bool:
        return self._current is not None and self._current.connection is not None

    @property
    def flows(self) -> bool:
        """It is up and has brought events."""
        return self.up and self._current is not None and self._current.opened.is_set()

    @property
    def connection(self) -> Connection | None:
        """The socket that is open now."""
        return self._current.connection if self._current is not None else None

    @property
    def last_frame_at(self) -> float | None:
        """Monotonic seconds of the newest frame; None while no socket is open."""
        return None if self.connection is None else self.connection.last_frame_at

    def renew(self) -> None:
        """Replace the socket: the new one is up before the old one closes."""
        self._renew.set()

    def reconnect(self, reason: str) -> None:
        """End the socket now, for a reason; the line opens another."""
        session = self._current
        if session is not None and session.task is not None and session.connection is not None:
            session.end_reason = reason
            session.task.cancel()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            session = self._open()
            try:
                session, lost = await self._hold(session)
            except asyncio.CancelledError:
                await self._end(self._current, RENEWED if self.leaving else STOPPED)
                raise
            uptime = 0.0 if session.opened_at is None else self._clock.monotonic() - session.opened_at
            delay = self.backoff.delay(
                uptime,
                retryable=lost is None or lost.retryable,
                least_s=0.0 if lost is None else lost.retry_after_s,
            )
            self.last_reason = session.end_reason
            self._on_change()
            log.warning(
                "connection_lost", connection=session.name, reason=session.end_reason,
                uptime_s=round(uptime, 1), next_in_s=round(delay, 2), failures=self.backoff.failures,
            )  # fmt: skip
            await self._clock.sleep(delay)
            self.reconnects += 1

    def _open(self) -> _Session:
        self._generation += 1
        session = _Session(f"{self.name}#{self._generation}")
        session.task = asyncio.create_task(self._read(session), name=session.name)
        self._current = self._current or session
        return session

    async def _hold(self, session: _Session) -> tuple[_Session, ConnectionLost | None]:
        """Keeps a socket open, renewing it in time, until one ends by itself."""
        self._current = session
        while True:
            task = session.task
            assert task is not None  # noqa: S101 (set where sessions are made)
            renewal = asyncio.create_task(self._renew.wait())
            try:
                await asyncio.wait({task, renewal}, timeout=self._until_renewal(session),
                                   return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            finally:
                renewal.cancel()
            if task.done():
                return session, await self._ended(session)
            self._renew.clear()
            session = await self._replace(session)
            self._current = session

    def _until_renewal(self, session: _Session) -> float | None:
        lifetime = self._quirks.lifetime_s
        if lifetime is None:
            return None
        born = self._clock.monotonic() if session.opened_at is None else session.opened_at
        return max(1.0, born + lifetime * _RENEW_AT - self._clock.monotonic())

    async def _replace(self, old: _Session) -> _Session:
        """The successor once it is established, or the old one when that did not succeed."""
        new = self._open()
        try:
            if not await self._establish(new):
                log.warning("renewal_failed", connection=old.name)
                self._sink.on_unrenewed(old.name)
                await self._end(new)
                return old
            await self._clock.sleep(_OVERLAP_S)
        except asyncio.CancelledError:
            await self._end(new, STOPPED)
            raise
        await self._end(old, RENEWED)
        log.info("connection_renewed", old=old.name, new=new.name)
        return new

    async def _establish(self, new: _Session) -> bool:
        """Whether the session brings events in time."""
        assert new.task is not None  # noqa: S101 (set where sessions are made)
        opened = asyncio.create_task(new.opened.wait())
        await asyncio.wait({new.task, opened}, timeout=_ESTABLISH_S, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        return new.opened.is_set() and not new.task.done()

    async def _ended(self, session: _Session) -> ConnectionLost | None:
        """What ended a finished session; the sink is told that its flow broke."""
        assert session.task is not None  # noqa: S101
        await asyncio.wait({session.task})
        lost = None if session.task.cancelled() else session.task.result()
        session.end_reason = session.end_reason or (lost.reason if lost else "closed by the exchange")
        session.connection = None
        if session.opened_at is not None and not session.told:
            session.told = True
            self._sink.on_break(session.name, session.end_reason)
        elif session.opened_at is None and lost is not None:
            self._sink.on_failure(session.name, session.end_reason)
        return lost

    async def _end(self, session: _Session | None, reason: str = "") -> None:
        """Closes a session that may still be reading."""
        if session is None or session.task is None:
            return
        session.end_reason = session.end_reason or reason
        session.task.cancel()
        await asyncio.wait({session.task}, timeout=_CLOSE_S)
        if session.task.done():
            await self._ended(session)
        if session is self._current:
            self._current = None

    async def _read(self, session: _Session) -> ConnectionLost | None:
        connection = self._connect(self.symbols, session.name)
        try:
            async with AsyncExitStack() as stack:
                await self._gate.open(lambda: stack.enter_async_context(connection))
                session.connection, session.opened_at = connection, self._clock.monotonic()
                self._sink.on_open(session.name, self.symbols)
                self._on_change()
                async for events in connection:
                    session.opened.set()
                    self._sink.on_events(session.name, events)
                    await self._sink.ready()
        except ConnectionLost as lost:
            if lost.limited is not None:
                self._sink.on_limited(session.name, lost.limited, lost.reason)
            return lost
        return None


class ConnectionHub:
    """All lines of one exchange."""

    def __init__(self, name: str, symbols: Sequence[str], wiring: Wiring) -> None:
        """`symbols` in rank order."""
        self._name = name
        self._wiring = wiring
        self._gate = wiring.gate or Gate(wiring.clock)
        self._made = 0
        self.lines = self._lines(symbols)

    def _lines(self, symbols: Sequence[str]) -> list[Line]:
        size = self._wiring.quirks.symbols_per_connection
        lines = []
        for at in range(0, len(symbols), size):
            self._made += 1
            lines.append(
                Line(f"{self._name}-{self._made}", symbols[at : at + size], self._wiring, self._gate)
            )
        return lines

    def change(self, symbols: Sequence[str]) -> tuple[list[Line], list[Line]]:
        """Lines to start so that all `symbols` are carried, and those to `drop` once these flow.

        A line that carries only wanted symbols stays, unless there would be more lines than needed.
        """
        size = self._wiring.quirks.symbols_per_connection
        wanted = set(symbols)
        kept = [line for line in self.lines if wanted.issuperset(line.symbols)]
        needed = -(-len(symbols) // size)
        while True:
            carried = {symbol for line in kept for symbol in line.symbols}
            others = [symbol for symbol in symbols if symbol not in carried]
            if len(kept) + -(-len(others) // size) <= needed or not kept:
                break
            kept.remove(min(kept, key=lambda line: len(line.symbols)))
        fresh = self._lines(others)
        leaving = [line for line in self.lines if line not in kept]
        # The new ones first: of two that carry a symbol the one that stays is asked.
        self.lines = [*fresh, *self.lines]
        return fresh, leaving

    def drop(self, lines: Sequence[Line]) -> None:
        """They carry nothing that is still wanted of them."""
        self.lines = [line for line in self.lines if line not in lines]
        for line in lines:
            line.leaving = True

    @property
    def up(self) -> int:
        return sum(line.up for line in self.lines)

    @property
    def breaker_open(self) -> bool:
        return any(line.backoff.breaker_open for line in self.lines)

    @property
    def reconnects(self) -> int:
        return sum(line.reconnects for line in self.lines)

    def line_of(self, connection: str) -> Line | None:
        """The line a connection's name belongs to."""
        name = connection.rpartition("#")[0]
        return next((line for line in self.lines if line.name == name), None)

    def line_with(self, symbol: str) -> Line | None:
        """The line that carries a symbol."""
        return next((line for line in self.lines if symbol in line.symbols), None)
