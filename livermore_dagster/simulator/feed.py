"""What every simulated WebSocket has in common: connections, their queues and faults, and the beat of frames.

Frames are stamped with the market time they are due, and leave in the order of their stamps: a client whose
clock is the newest stamp it saw has been given everything that was due before.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from aiohttp import WSMsgType, web

from livermore_dagster.simulator.bars import Bar
from livermore_dagster.simulator.faults import Aim, Fault, FaultBoard, FaultKind
from livermore_dagster.simulator.limits import MessageRate
from livermore_dagster.simulator.market import MINUTE_MS
from livermore_dagster.simulator.noise import key_of
from livermore_dagster.simulator.outgoing import Connection
from livermore_dagster.simulator.venue import INTERVALS, Venue

__all__ = ["Feed", "FeedSettings"]


_NEVER = 2**62


@dataclass(slots=True)
class FeedSettings:
    """What an exchange's socket allows; changed through the control door. All in real seconds."""

    messages_per_s: int
    connections: int
    connections_per_s: float
    update_s: float
    """How often changed candles are sent."""
    beat_s: float = 1.0
    """How often tickers and heartbeats are sent."""
    ping_s: float = 20.0
    pong_s: float = 60.0
    lifetime_s: float = 86_400.0
    subscribe_within_s: float = 0.0
    """0: a connection may stay without subscription."""
    quiet_s: float = 0.0
    """A connection that was sent nothing for so long is cut; 0: never."""


class Feed(ABC):
    """One exchange's socket: subclasses speak its protocol."""

    def __init__(
        self, venue: Venue, faults: FaultBoard, counters: Counter[str], settings: FeedSettings
    ) -> None:
        self.venue, self.faults, self.counters, self.settings = venue, faults, counters, settings
        self.connections: dict[int, Connection] = {}
        self._ids = itertools.count(1)
        self._order = itertools.count()
        self._arrivals = MessageRate(settings.connections, settings.connections_per_s)
        self._closes: deque[tuple[int, str]] = deque()
        self._later: list[tuple[int, int, Callable[[int], None]]] = []
        """Frames to be sent at a market time: (due, order, what sends them, given its stamp); a heap."""
        self._boundary = 0
        self._second = self._update = 0.0

    # --- to be spoken by subclasses ---------------------------------------------------------------------
    @abstractmethod
    def opened(self, connection: Connection, request: web.Request) -> None:
        """A client has connected."""

    @abstractmethod
    def received(self, connection: Connection, text: str) -> None:
        """A client's message."""

    @abstractmethod
    def gone(self, connection: Connection) -> None:
        """A connection has ended."""

    @abstractmethod
    def subscribed_symbols(self) -> set[str]:
        """Symbols some connection has candles of."""

    @abstractmethod
    def close_delay_ms(self, symbol: str, boundary_ms: int) -> int:
        """How long after a candle's end its last frame comes, in market ms."""

    @abstractmethod
    def send_closes(self, symbol: str, boundary_ms: int, stamp_ms: int) -> None:
        """Last frames of the symbol's candles that ended at `boundary_ms`."""

    @abstractmethod
    def send_updates(self, stamp_ms: int) -> None:
        """Open candles that changed."""

    @abstractmethod
    def send_second(self, stamp_ms: int) -> None:
        """What is sent every second: tickers, heartbeats."""

    @abstractmethod
    def announce_shutdown(self, connection: Connection, stamp_ms: int) -> None:
        """Tells a client that its connection will end, where the exchange does so."""

    @abstractmethod
    def forget(self, connection: Connection, stream: str) -> None:
        """Drops a subscription without a word."""

    @abstractmethod
    def stream_aim(self, stream: str) -> Aim:
        """What a fault must be aimed at to concern this stream."""

    # --- the beat ---------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Sends frames as they fall due, until cancelled."""
        self._boundary = _next_minute(self.venue.clock.now_ms())
        self.beat_anew()
        while True:
            now = self.stamp()
            real = time.monotonic()
            if real >= self._update:
                # Not quite regular, or at 60× every update would fall on the same moment of a minute.
                self._update = max(self._update + self.settings.update_s * random.uniform(0.93, 1.07), real)
                self.send_updates(now)
            if real >= self._second:
                self._second = max(self._second + self.settings.beat_s, real)
                self.faults.tidy()
                self.send_second(now)
                await self._keep_alive(real)
            due = min(self._boundary, self._next_due())
            limit = max(0.0, min(self._second, self._update) - time.monotonic())
            await self.venue.clock.wait_until(due, limit)

    def beat_anew(self) -> None:
        """Counts the beat from now on: after a change of how often, it would first be as long as before."""
        self._second = self._update = time.monotonic()

    def stamp(self) -> int:
        """Market time now, after everything due before it has been queued."""
        now = self.venue.clock.now_ms()
        if self._boundary == 0:
            return now
        while self._boundary <= now:
            boundary = self._boundary
            self._closes.extend(
                sorted((boundary + self.close_delay_ms(s, boundary), s) for s in self.subscribed_symbols())
            )
            self._boundary += MINUTE_MS
        while (due := self._next_due()) <= now:
            if self._later and self._later[0][0] == due:
                heapq.heappop(self._later)[2](due)
            else:
                symbol = self._closes.popleft()[1]
                self.send_closes(symbol, due - due % MINUTE_MS, due)
        return now

    def _next_due(self) -> int:
        """Market time of the next frame that is due at a time of its own."""
        close = self._closes[0][0] if self._closes else _NEVER
        return min(close, self._later[0][0]) if self._later else close

    def send_later(self, due_ms: int, send: Callable[[int], None]) -> None:
        """Calls `send` with its stamp when market time reaches `due_ms`."""
        heapq.heappush(self._later, (due_ms, next(self._order), send))

    def stated(self, stamp_ms: int) -> int:
        """The stamp as the exchange's clock, which may be off, writes it."""
        return stamp_ms if self.faults.is_quiet else stamp_ms + self.faults.skew_ms("stream")

    def as_streamed(self, symbol: str, timeframe: str, bar: Bar) -> tuple[Bar, int | None]:
        """A closed bar as its last frame shows it, and after how many ms it is corrected (None: not)."""
        fault = self.faults.find(FaultKind.REVISE_STREAM, symbol=symbol, timeframe=timeframe)
        shown = None if fault is None else self.venue.provisional(symbol, INTERVALS[timeframe], bar)
        if fault is None or shown is None:
            return bar, None
        self.faults.note(fault)
        return shown, fault.own["settle_ms"]

    def close_pending(self, symbol: str) -> bool:
        """Whether the symbol's last candle still awaits its last frame."""
        return any(waiting == symbol for _, waiting in self._closes)

    def jitter(self, symbol: str, boundary_ms: int, low: int, high: int) -> int:
        return low + key_of(self.venue.seed, symbol, boundary_ms) % (high - low)

    # --- connections ------------------------------------------------------------------------------------
    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serves one client until either side ends it."""
        refused = await self._refusal()
        if refused is not None:
            self.counters["ws_refused"] += 1
            return refused
        socket = web.WebSocketResponse(autoping=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        connection = Connection(next(self._ids), socket, transport, self.faults)
        self.connections[connection.id] = connection
        self.counters["ws_connections"] += 1
        writer = asyncio.create_task(connection.write())
        try:
            self.opened(connection, request)
            await self._read(connection)
        finally:
            writer.cancel()
            self.connections.pop(connection.id, None)
            self.gone(connection)
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        return socket

    async def _refusal(self) -> web.Response | None:
        """What an upgrade is refused with; None: it is not."""
        if not self._arrivals.allow() or self.venue.is_dark():
            return _refused(503)
        hanging = self.faults.strike(FaultKind.HANG_CONNECTION)
        if hanging is not None:
            await asyncio.sleep(hanging.own["delay_s"])
            return _refused(503)
        refusing = self.faults.strike(FaultKind.REFUSE_CONNECTION)
        return None if refusing is None else _refused(refusing.own["status"], refusing.own["retry_after_s"])

    async def _read(self, connection: Connection) -> None:
        rate = MessageRate(self.settings.messages_per_s)
        async for message in connection.socket:
            if not self.faults.is_quiet and connection.strikes(FaultKind.SILENCE):
                continue
            if not rate.allow() or connection.strikes(FaultKind.RATE_CUT):
                self.counters["ws_rate_cuts"] += 1
                await connection.socket.close(code=1008, message=b"Too many requests")
                return
            if message.type is WSMsgType.TEXT:
                self.counters["ws_messages"] += 1
                if not connection.strikes(FaultKind.LOST_REQUEST):
                    self.received(connection, message.data)
            elif message.type is WSMsgType.PING:
                await connection.socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                connection.last_pong = time.monotonic()
            elif message.type is WSMsgType.ERROR:
                return

    async def _keep_alive(self, now: float) -> None:
        for connection in list(self.connections.values()):
            reason = self._end_of(connection, now)
            if self.venue.is_dark():
                self.counters["ws_cuts"] += 1
                connection.abort()
            elif reason:
                self.counters["ws_cuts"] += 1
                await self._close(connection, reason)
            elif not self.faults.is_quiet and self.faults.find(FaultKind.SILENCE, connection=connection.id):
                continue
            elif now - connection.last_ping >= self.settings.ping_s:
                connection.last_ping = now
                with contextlib.suppress(ConnectionError, RuntimeError):
                    await connection.socket.ping(str(self.venue.clock.now_ms()).encode())

    def _end_of(self, connection: Connection, now: float) -> bytes:
        rules = self.settings
        if now - connection.since >= rules.lifetime_s:
            return b"connection lifetime reached"
        if now - connection.last_pong >= rules.ping_s + rules.pong_s:
            return b"no pong"
        if rules.subscribe_within_s and not connection.streams and not connection.heartbeats:
            if now - connection.since >= rules.subscribe_within_s:
                return b"no subscription"
        elif rules.quiet_s and now - connection.last_sent >= rules.quiet_s:
            return b"idle"
        return b""

    async def _close(self, connection: Connection, reason: bytes, code: int = 1000) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            async with asyncio.timeout(0.3):
                await connection.socket.close(code=code, message=reason)

    async def act(self, fault: Fault) -> None:
        """Does what is done once: cuts, closes, announces, forgets; counts each connection or stream."""
        chosen = [c for c in self.connections.values() if fault.aim.connection in (None, c.id)]
        match fault.kind:
            case FaultKind.DROP:
                for connection in chosen:
                    connection.abort()
            case FaultKind.CLOSE:
                for connection in chosen:
                    await self._close(connection, b"connection lifetime reached", int(fault.own["code"]))
            case FaultKind.SHUTDOWN:
                stamp = self.stamp()
                for connection in chosen:
                    self.announce_shutdown(connection, stamp)
                    asyncio.get_running_loop().call_later(fault.duration_s, connection.abort)
            case FaultKind.DEAD_SUBSCRIPTION:
                self.faults.note(fault, sum(self._kill(connection, fault.aim) for connection in chosen))
                return
            case _:
                raise ValueError(f"{fault.kind.value} is nothing done once")
        self.faults.note(fault, len(chosen))

    def _kill(self, connection: Connection, aim: Aim) -> int:
        """Forgets the connection's streams that are meant; how many."""
        meant = [
            stream
            for stream in connection.streams
            if aim.meets(replace(self.stream_aim(stream), connection=connection.id))
        ]
        for stream in meant:
            self.forget(connection, stream)
        return len(meant)

    async def close_all(self) -> None:
        for connection in list(self.connections.values()):
            await self._close(connection, b"going away")


def _next_minute(now_ms: int) -> int:
    return now_ms - now_ms % MINUTE_MS + MINUTE_MS


def _refused(status: int, retry_after_s: int | None = None) -> web.Response:
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return web.Response(status=status, text="Service Unavailable", headers=headers)
