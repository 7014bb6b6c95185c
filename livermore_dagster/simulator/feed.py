"""What every simulated WebSocket has in common: connections, their queues and faults, and the beat of frames.

Frames are stamped with the market time they are due, and leave in the order of their stamps: a client whose
clock is the newest stamp it saw has been given everything that was due before.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from livermore_dagster.simulator.faults import FaultBoard, FaultKind
from livermore_dagster.simulator.limits import MessageRate
from livermore_dagster.simulator.market import MINUTE_MS
from livermore_dagster.simulator.noise import key_of
from livermore_dagster.simulator.venue import Venue

if TYPE_CHECKING:
    from asyncio import Transport

__all__ = ["Connection", "Feed", "FeedSettings", "Frame"]

_QUEUE_LIMIT = 20_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One text frame on its way out. `channel` is 'candles', 'ticker' or '' for what is no data."""

    text: str
    symbol: str = ""
    channel: str = ""


@dataclass(slots=True)
class FeedSettings:
    """What an exchange's socket allows; changed through the control door. All in real seconds."""

    messages_per_s: int
    connections: int
    connections_per_s: float
    update_s: float
    """How often changed candles are sent."""
    ping_s: float = 20.0
    pong_s: float = 60.0
    lifetime_s: float = 86_400.0
    subscribe_within_s: float = 0.0
    """0: a connection may stay without subscription."""
    quiet_s: float = 0.0
    """A connection that was sent nothing for so long is cut; 0: never."""


@dataclass(eq=False)
class Connection:
    """One client's socket."""

    id: int
    socket: web.WebSocketResponse
    transport: Transport
    faults: FaultBoard
    combined: bool = False
    """Binance: frames are wrapped with their stream's name."""
    sequence: int = 0
    streams: set[str] = field(default_factory=set)
    since: float = field(default_factory=time.monotonic)
    last_pong: float = field(default_factory=time.monotonic)
    last_ping: float = field(default_factory=time.monotonic)
    last_sent: float = field(default_factory=time.monotonic)
    heartbeats: bool = False
    beats: int = 0
    sent: int = 0
    _queue: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(_QUEUE_LIMIT))
    _held: str | None = None

    def send(self, frame: Frame) -> bool:
        """Queues a frame, as the active faults let it. False: a stall kept it from ever being made."""
        if not self.faults.faults:
            self._put(frame.text)
            return True

        def strikes(kind: FaultKind) -> bool:
            symbol, channel = frame.symbol or None, frame.channel or None
            return self.faults.strike(kind, symbol=symbol, connection=self.id, channel=channel)

        if strikes(FaultKind.SILENCE) or (frame.channel and strikes(FaultKind.STALL)):
            return False
        if not frame.channel:
            self._put(frame.text)
            return True
        if strikes(FaultKind.LOSE):
            return True
        if self._held is None and strikes(FaultKind.REORDER):
            self._held = frame.text
            return True
        self._put(frame.text)
        if self._held is not None:
            self._put(self._held)
            self._held = None
        if strikes(FaultKind.DUPLICATE):
            self._put(frame.text)
        return True

    def _put(self, text: str) -> None:
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            # A client that does not read is cut, as an exchange would.
            self.abort()

    async def write(self) -> None:
        """Sends what is queued, until the socket closes."""
        while True:
            text = await self._queue.get()
            try:
                await self.socket.send_str(text)
            except (ConnectionError, RuntimeError):
                return
            self.sent += 1
            self.last_sent = time.monotonic()

    def abort(self) -> None:
        self.transport.abort()


class Feed(ABC):
    """One exchange's socket: subclasses speak its protocol."""

    def __init__(
        self, venue: Venue, faults: FaultBoard, counters: Counter[str], settings: FeedSettings
    ) -> None:
        self.venue, self.faults, self.counters, self.settings = venue, faults, counters, settings
        self.connections: dict[int, Connection] = {}
        self._ids = itertools.count(1)
        self._arrivals = MessageRate(settings.connections, settings.connections_per_s)
        self._closes: deque[tuple[int, str]] = deque()
        self._boundary = 0

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

    # --- the beat ---------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Sends frames as they fall due, until cancelled."""
        self._boundary = _next_minute(self.venue.clock.now_ms())
        second = update = time.monotonic()
        while True:
            now = self.stamp()
            real = time.monotonic()
            if real >= update:
                # Not quite regular, or at 60× every update would fall on the same moment of a minute.
                update = max(update + self.settings.update_s * random.uniform(0.93, 1.07), real)
                self.send_updates(now)
            if real >= second:
                second = max(second + 1.0, real)
                self.send_second(now)
                await self._keep_alive(real)
            due = min(self._closes[0][0], self._boundary) if self._closes else self._boundary
            limit = max(0.0, min(second, update) - time.monotonic())
            await self.venue.clock.wait_until(due, limit)

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
        while self._closes and self._closes[0][0] <= now:
            due, symbol = self._closes.popleft()
            self.send_closes(symbol, due - due % MINUTE_MS, due)
        return now

    def close_pending(self, symbol: str) -> bool:
        """Whether the symbol's last candle still awaits its last frame."""
        return any(waiting == symbol for _, waiting in self._closes)

    def jitter(self, symbol: str, boundary_ms: int, low: int, high: int) -> int:
        return low + key_of(self.venue.seed, symbol, boundary_ms) % (high - low)

    # --- connections ------------------------------------------------------------------------------------
    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serves one client until either side ends it."""
        if not self._arrivals.allow() or self.faults.strike(FaultKind.REFUSE_CONNECTION):
            self.counters["ws_refused"] += 1
            return web.Response(status=503, text="Service Unavailable")
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

    async def _read(self, connection: Connection) -> None:
        rate = MessageRate(self.settings.messages_per_s)
        async for message in connection.socket:
            if not rate.allow():
                self.counters["ws_rate_cuts"] += 1
                await connection.socket.close(code=1008, message=b"Too many requests")
                return
            if message.type is WSMsgType.TEXT:
                self.counters["ws_messages"] += 1
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
            if reason:
                self.counters["ws_cuts"] += 1
                await self._close(connection, reason)
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

    async def _close(self, connection: Connection, reason: bytes) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            async with asyncio.timeout(0.3):
                await connection.socket.close(code=1000, message=reason)

    def cut(self, connection_id: int | None, *, announce_s: float | None = None) -> int:
        """Cuts one connection or all, at once or announced `announce_s` before; returns how many."""
        chosen = [c for c in self.connections.values() if connection_id in (None, c.id)]
        for connection in chosen:
            if announce_s is None:
                connection.abort()
            else:
                self.announce_shutdown(connection, self.stamp())
                asyncio.get_running_loop().call_later(announce_s, connection.abort)
        return len(chosen)

    async def close_all(self) -> None:
        for connection in list(self.connections.values()):
            await self._close(connection, b"going away")


def _next_minute(now_ms: int) -> int:
    return now_ms - now_ms % MINUTE_MS + MINUTE_MS
