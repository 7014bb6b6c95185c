"""One client's socket as the exchange sees it: what is sent to it, and what faults make of that."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from livermore_dagster.simulator.faults import FaultBoard, FaultKind

if TYPE_CHECKING:
    from asyncio import Transport

__all__ = ["Connection", "Frame"]

_QUEUE_LIMIT = 20_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One text frame on its way out. `channel` is 'candles', 'ticker', 'user' or '' for what is no data."""

    text: str
    symbol: str = ""
    channel: str = ""
    timeframe: str = ""
    is_last: bool = False
    """The last frame of a candle."""
    is_answer: bool = False
    """An answer to a message of the client."""
    after_number: str | None = None
    """Coinbase: the connection's next sequence number stands between `text` and this."""


@dataclass(eq=False)
class Connection:
    """One client's socket."""

    id: int
    socket: web.WebSocketResponse
    transport: Transport
    faults: FaultBoard
    combined: bool = False
    """Binance: frames are wrapped with their stream's name."""
    is_api: bool = False
    """Binance: speaks the WebSocket API, not the market streams."""
    sequence: int = 0
    streams: set[str] = field(default_factory=set)
    since: float = field(default_factory=time.monotonic)
    last_pong: float = field(default_factory=time.monotonic)
    last_ping: float = field(default_factory=time.monotonic)
    last_sent: float = field(default_factory=time.monotonic)
    heartbeats: bool = False
    beats: int = 0
    sent: int = 0
    _queue: asyncio.Queue[tuple[float, str]] = field(default_factory=lambda: asyncio.Queue(_QUEUE_LIMIT))
    _held: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """A frame of each stream that waits for its successor."""
    _earlier: dict[tuple[str, str, str], Frame] = field(default_factory=dict)
    """A frame of each stream that a replay will send again."""

    def send(self, frame: Frame) -> bool:
        """Queues a frame, as the active faults let it. False: it was never made, so it has no number."""
        if self.faults.is_quiet and not self._held:
            self._put(self._numbered(frame))
            return True
        return self._send_under_faults(frame)

    def strikes(self, kind: FaultKind, frame: Frame | None = None) -> bool:
        """Whether such a fault concerns this connection, and the frame, now; counts it."""
        return self.faults.strike(kind, connection=self.id, **_passing(frame)) is not None

    def _send_under_faults(self, frame: Frame) -> bool:
        if self.strikes(FaultKind.SILENCE) or (frame.channel and self.strikes(FaultKind.STALL, frame)):
            return False
        if frame.is_answer and self.strikes(FaultKind.LOST_ACK):
            return False
        if not frame.channel:
            self._put(self._numbered(frame))
            return True
        if frame.after_number is not None and self.strikes(FaultKind.SEQUENCE_GAP):
            self.sequence += 1
        text = self._numbered(frame)
        if frame.is_last and self.strikes(FaultKind.LOSE_CLOSE, frame):
            return True
        if self.strikes(FaultKind.LOSE, frame):
            return True
        if self.strikes(FaultKind.GARBLE, frame):
            text = text[: len(text) // 2]
        stream = _stream_of(frame)
        if stream not in self._held and self.strikes(FaultKind.REORDER, frame):
            self._held[stream] = text
            return True
        self._put(text)
        if stream in self._held:
            self._put(self._held.pop(stream))
        if self.strikes(FaultKind.DUPLICATE, frame):
            self._put(text)
        self._replay(frame)
        return True

    def _replay(self, frame: Frame) -> None:
        """The first frame of a stream under this fault is kept, and comes again after each later one."""
        fault = self.faults.find(FaultKind.REPLAY, connection=self.id, **_passing(frame))
        if fault is None:
            self._earlier.pop(_stream_of(frame), None)
            return
        earlier = self._earlier.setdefault(_stream_of(frame), frame)
        if earlier is not frame:
            self.faults.note(fault)
            self._put(self._numbered(earlier))

    def _numbered(self, frame: Frame) -> str:
        if frame.after_number is None:
            return frame.text
        number = self.sequence
        self.sequence += 1
        return f"{frame.text}{number}{frame.after_number}"

    def _put(self, text: str) -> None:
        lag = None if self.faults.is_quiet else self.faults.strike(FaultKind.LAG, connection=self.id)
        due = 0.0 if lag is None else time.monotonic() + float(lag.own["delay_s"])
        try:
            self._queue.put_nowait((due, text))
        except asyncio.QueueFull:
            # A client that does not read is cut, as an exchange would.
            self.abort()

    async def write(self) -> None:
        """Sends what is queued, until the socket closes."""
        while True:
            due, text = await self._queue.get()
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            try:
                await self.socket.send_str(text)
            except (ConnectionError, RuntimeError):
                return
            self.sent += 1
            self.last_sent = time.monotonic()

    def abort(self) -> None:
        self.transport.abort()


def _stream_of(frame: Frame) -> tuple[str, str, str]:
    return frame.channel, frame.symbol, frame.timeframe


def _passing(frame: Frame | None) -> dict[str, Any]:
    """What of a frame a fault can be aimed at."""
    if frame is None:
        return {}
    return {
        "symbol": frame.symbol or None,
        "channel": frame.channel or None,
        "timeframe": frame.timeframe or None,
    }
