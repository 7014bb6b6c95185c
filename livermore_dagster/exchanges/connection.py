"""One WebSocket to one exchange: subscribed within its pace, confirmed, read without waiting for a sink."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)

from livermore_dagster.clock import Clock
from livermore_dagster.errors import ExchangeError
from livermore_dagster.exchanges.contract import Ack, Dialect, ErrorFrame, Refusal, SequenceGap, StreamEvent
from livermore_dagster.exchanges.http import is_loopback
from livermore_dagster.exchanges.subscriptions import AckTracker
from livermore_dagster.exchanges.trouble import transport_trouble
from livermore_dagster.exchanges.wire import retry_after_ms
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Connection", "ConnectionLost", "ConnectionStats", "classify", "open_socket"]

log = structlog.get_logger(__name__)

# The library's debug lines hold whole frames and addresses, tokens and listen keys among them.
_SOCKET_LOG = logging.getLogger("livermore_sockets")
_SOCKET_LOG.setLevel(logging.INFO)

_MAX_FRAME_BYTES = 8 * 1024 * 1024
_FRAMES_QUEUED = 1024
_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 0.5
_PING_S = 20.0
_RETRY_AFTER_S = 60.0
"""Where a 429 or 418 does not say for how long."""
# Beyond this many events not yet fetched the socket is not read on: the bound of our memory.
_EVENTS_HELD = 100_000


class ConnectionLost(ExchangeError):
    """The connection is gone or never came. `retryable` is False where the same attempt must fail again.

    `limited`: the exchange refused the upgrade for its rate (429) or banned this address (418); nobody may
    try again for `retry_after_s`.
    """

    def __init__(
        self, reason: str, *, retryable: bool = True, limited: int | None = None, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable
        self.limited = limited
        self.retry_after_s = retry_after_s


def classify(error: Exception, address: str) -> ConnectionLost:
    """What a transport error means, and whether the same attempt may succeed later. `address`: the URL."""
    match error:
        case ConnectionClosed():
            closed = error.rcvd or error.sent
            if closed is None:
                return ConnectionLost("the connection broke without a closing frame")
            by = "the exchange" if error.rcvd else "this side"
            return ConnectionLost(f"closed by {by}: {closed.code} {closed.reason}".rstrip())
        case InvalidStatus():
            status = error.response.status_code
            if status in (418, 429):
                return _limited(status, error.response.headers)
            retryable = status >= 500 or status in (408, 425)
            meaning = ": it does not serve this place" if status == 451 else ""
            return ConnectionLost(
                f"the exchange answered the upgrade with {status}{meaning}", retryable=retryable
            )
        case ssl.SSLCertVerificationError():
            return ConnectionLost(transport_trouble(error, address).text, retryable=False)
        case InvalidURI() | InvalidProxy():
            return ConnectionLost(str(error), retryable=False)
        case InvalidMessage() | TimeoutError() | OSError():
            return ConnectionLost(transport_trouble(error, address).text)
        case InvalidHandshake():
            return ConnectionLost(f"handshake failed: {error}", retryable=False)
    raise error


def _limited(status: int, headers: Headers) -> ConnectionLost:
    stated_ms = retry_after_ms({name.lower(): value for name, value in headers.raw_items()})
    seconds = _RETRY_AFTER_S if stated_ms is None else stated_ms / 1000
    text = f"the exchange answered the upgrade with {status}: not tried again for {seconds:g} s"
    return ConnectionLost(text, limited=status, retry_after_s=seconds)


async def open_socket(url: str) -> ClientConnection:
    """A WebSocket that pings by itself. Raises ConnectionLost."""
    try:
        return await connect(
            url,
            compression=None,
            max_size=_MAX_FRAME_BYTES,
            max_queue=_FRAMES_QUEUED,
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            user_agent_header="livermore",
            logger=_SOCKET_LOG,
            proxy=None if is_loopback(url) else True,
        )
    except (InvalidHandshake, InvalidURI, TimeoutError, OSError) as error:
        raise classify(error, url) from error


@dataclass(slots=True)
class ConnectionStats:
    """Counts since the connection opened."""

    frames: int = 0
    events: int = 0
    bytes: int = 0
    sequence_gaps: int = 0
    errors: int = 0
    subscribe_retries: int = 0


class Connection:
    """`async with Connection(...) as c: async for events in c: ...`

    Each turn of the loop gives every event decoded since the last one, in order. Refusals appear only after
    their retries, with the symbol; a loss raises ConnectionLost from the loop (or from `async with`).
    """

    def __init__(
        self,
        row: ExchangeRow,
        dialect: Dialect,
        symbols: Sequence[str],
        timeframes: Sequence[Timeframe],
        clock: Clock,
        name: str,
        *,
        ack_patience_s: float = 10.0,
    ) -> None:
        """`symbols` are canonical ids, at most `quirks.symbols_per_connection`; `name` is for logs.

        A subscription not confirmed within `ack_patience_s` real seconds is asked for again.
        """
        self.name = name
        self.stats = ConnectionStats()
        self.opened_at = 0.0
        """Monotonic seconds of opening; 0 before."""
        self.last_frame_at = 0.0
        """Monotonic seconds of the newest frame, of opening before the first."""
        self._row = row
        self._dialect = dialect
        self._timeframes = tuple(timeframes)
        self._clock = clock
        self._decoder = dialect.decoder()
        self._tracker = AckTracker(patience_s=ack_patience_s)
        self._to_send: list[list[str]] = []
        self._want(symbols)
        self._subscriptions_changed = asyncio.Event()
        self._next_id = 1
        self._send_lock = asyncio.Lock()
        self._sent_at = -1e9
        self._events: list[StreamEvent] = []
        self._available = asyncio.Event()
        self._fetched = asyncio.Event()
        self._ended: Exception | None = None
        self._closing = False
        self._last_error = ""
        self._socket: ClientConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # --- life -------------------------------------------------------------------------------------------
    async def __aenter__(self) -> Self:
        self._socket = await open_socket(self._dialect.stream_url(self._row.ws_url))
        self.opened_at = self.last_frame_at = self._clock.monotonic()
        work = [self._read(self._socket), self._keep_subscribed(self._socket)]
        if self._dialect.quirks.client_ping_s is not None:
            work.append(self._ping(self._socket, self._dialect.quirks.client_ping_s))
        self._tasks = [asyncio.create_task(task, name=f"{self.name}-{n}") for n, task in enumerate(work)]
        for task in self._tasks:
            task.add_done_callback(self._on_task_done)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End it from our side; the loop then ends without an error."""
        self._closing = True
        self._available.set()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._socket is not None:
            await self._socket.close()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._closing or self._ended is not None:
            return
        error = task.exception()
        if isinstance(error, ConnectionClosed):
            self._ended = classify(error, self._row.ws_url)
        elif isinstance(error, Exception):
            # A fault of ours: it reaches the caller as it is.
            self._ended = error
        else:
            self._ended = ConnectionLost("the connection ended")
        self._available.set()

    # --- reading ----------------------------------------------------------------------------------------
    def __aiter__(self) -> AsyncIterator[list[StreamEvent]]:
        return self._bursts()

    async def _bursts(self) -> AsyncIterator[list[StreamEvent]]:
        while True:
            await self._available.wait()
            self._available.clear()
            if self._events:
                events, self._events = self._events, []
                self._fetched.set()
                if self._ended is not None or self._closing:
                    self._available.set()
                yield events
            elif self._closing:
                return
            elif self._ended is not None:
                raise self._ended

    async def _read(self, socket: ClientConnection) -> None:
        decode = self._decoder.decode
        stats = self.stats
        while True:
            frame = await socket.recv(decode=False)
            self.last_frame_at = self._clock.monotonic()
            stats.frames += 1
            stats.bytes += len(frame)
            for event in decode(frame):
                self._route(event)
            if len(self._events) >= _EVENTS_HELD:
                log.warning("reading_paused", connection=self.name, events=len(self._events))
                self._fetched.clear()
                await self._fetched.wait()

    def _route(self, event: StreamEvent) -> None:
        """Acknowledgements and refusals are dealt with here, everything else is the caller's."""
        kind = type(event)
        if kind is Ack:
            self._tracker.on_ack(event)  # type: ignore[arg-type]
            self._subscriptions_changed.set()
        elif kind is Refusal:
            self._tracker.on_refusal(event, self._clock.monotonic())  # type: ignore[arg-type]
            self._subscriptions_changed.set()
            return
        elif kind is SequenceGap:
            self.stats.sequence_gaps += 1
        elif kind is ErrorFrame:
            self.stats.errors += 1
            self._last_error = event.message  # type: ignore[union-attr]
        self.stats.events += 1
        self._events.append(event)
        self._available.set()

    # --- subscriptions ----------------------------------------------------------------------------------
    @property
    def symbols(self) -> tuple[str, ...]:
        """What is wanted of this connection now."""
        return self._tracker.wanted

    @property
    def acknowledged(self) -> frozenset[str]:
        """Symbols whose subscription the exchange confirmed."""
        return self._tracker.acknowledged

    async def resubscribe(self, add: Sequence[str], remove: Sequence[str]) -> None:
        """Change what is streamed, without a new connection. Returns when removals are sent."""
        self._want(add)
        self._subscriptions_changed.set()
        gone = self._tracker.drop(remove)
        if gone and self._socket is not None:
            messages = self._dialect.unsubscribe(gone, self._timeframes, self._next_id)
            self._next_id += len(messages)
            try:
                for message in messages:
                    await self._send(self._socket, message)
            except ConnectionClosed as error:
                raise classify(error, self._row.ws_url) from error

    def _want(self, symbols: Sequence[str]) -> None:
        new = self._tracker.want(symbols)
        size = self._dialect.quirks.symbols_per_message
        self._to_send += [new[at : at + size] for at in range(0, len(new), size)]

    async def _keep_subscribed(self, socket: ClientConnection) -> None:
        """Ask, wait for the confirmations, ask again for what is missing, report what stays away."""
        while True:
            self._subscriptions_changed.clear()
            while self._to_send:
                await self._ask(socket, self._to_send.pop(0))
            again, lost = self._tracker.overdue(self._clock.monotonic())
            for refusal in lost:
                self._report(refusal)
            for group in again:
                self.stats.subscribe_retries += 1
                await self._ask(socket, group)
            due = self._tracker.next_due()
            if due is None:
                await self._subscriptions_changed.wait()
            else:
                await self._changed_or(max(0.01, due - self._clock.monotonic()))

    async def _changed_or(self, seconds: float) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        change = asyncio.ensure_future(self._subscriptions_changed.wait())
        try:
            await asyncio.wait({sleep, change}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            change.cancel()

    async def _ask(self, socket: ClientConnection, symbols: Sequence[str]) -> None:
        wanted = set(self._tracker.wanted)
        symbols = [symbol for symbol in symbols if symbol in wanted]
        if not symbols:
            return
        messages = self._dialect.subscribe(symbols, self._timeframes, self._next_id)
        ids = range(self._next_id, self._next_id + len(messages))
        self._next_id += len(messages)
        # Noted first: an answer may overtake the end of sending.
        self._tracker.sent(symbols, ids, self._clock.monotonic())
        for message in messages:
            await self._send(socket, message)

    def _report(self, refusal: Refusal) -> None:
        reason = refusal.reason if not self._last_error else f"{refusal.reason}; {self._last_error}"
        log.warning("subscription_given_up", connection=self.name, symbol=refusal.symbol, reason=reason)
        self.stats.events += 1
        self._events.append(Refusal(reason, symbol=refusal.symbol))
        self._available.set()

    async def _send(self, socket: ClientConnection, message: str) -> None:
        """Within the exchange's pace, and in order."""
        async with self._send_lock:
            pause = self._sent_at + 1 / self._dialect.quirks.client_messages_per_s - self._clock.monotonic()
            if pause > 0:
                await self._clock.sleep(pause)
            self._sent_at = self._clock.monotonic()
            await socket.send(message)

    async def _ping(self, socket: ClientConnection, every_s: float) -> None:
        while True:
            await self._clock.sleep(every_s)
            message = self._dialect.ping(self._next_id)
            self._next_id += 1
            if message is not None:
                await self._send(socket, message)
