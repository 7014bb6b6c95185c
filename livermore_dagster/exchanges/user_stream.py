"""One account's own channel of an exchange: told at once of fills and orders, kept up without end.

    async with user_stream_for(row, credentials, redis, clock, gate, on_limited) as stream:
        async for event in stream: ...

Events say *that* something happened; what exactly, the signed reads tell. Exchanges replay nothing, so each
time a channel flows (again) an event RESUMED says that what came before it is not told: read once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from livermore_dagster.clock import Clock
from livermore_dagster.errors import ClockSkewed, CredentialsRefused, ExchangeError
from livermore_dagster.exchanges.account_client import AccountClient
from livermore_dagster.exchanges.backoff import Backoff
from livermore_dagster.exchanges.connection import ConnectionLost, classify, open_socket
from livermore_dagster.exchanges.contract import (
    Ack,
    ErrorFrame,
    Heartbeat,
    Refusal,
    SequenceGap,
    ShutdownNotice,
)
from livermore_dagster.exchanges.gate import Gate

__all__ = ["OnLimited", "UserChannel", "UserDecoder", "UserEvent", "UserEventKind", "UserFrame", "UserStream"]

log = structlog.get_logger(__name__)

_ACK_PATIENCE_S = 10.0
_CLOSE_S = 1.0
_EVENTS_HELD = 10_000


class UserEventKind(StrEnum):
    FILL = "fill"
    ORDER = "order"
    """An order was placed, changed or ended without a fill."""
    RESUMED = "resumed"
    """The channel flows; what happened before, or was lost on the way, is not told: read the account once."""


@dataclass(frozen=True, slots=True)
class UserEvent:
    """`symbol` and `order_id` are None for RESUMED; `fill_id` is None where the channel does not tell it."""

    kind: UserEventKind
    symbol: str | None
    order_id: str | None
    fill_id: str | None
    at_ms: int
    """As the exchange tells it; of this machine's clock for RESUMED."""


OnLimited = Callable[[str, int, str], None]
"""Hears (channel, status, reason) of an upgrade refused for the rate (429) or a ban (418)."""

UserFrame = UserEvent | Ack | Refusal | Heartbeat | SequenceGap | ShutdownNotice | ErrorFrame


class UserDecoder(Protocol):
    def decode(self, frame: str | bytes) -> Sequence[UserFrame]:
        """What one frame tells; nothing for kinds that concern neither orders nor fills."""
        ...


class UserChannel(Protocol):
    """How one exchange's user channel is opened and read."""

    silence_s: float | None
    """A living channel is never silent so long; None where quiet is normal (pings watch the socket)."""
    lifetime_s: float | None
    """Open anew at this age, before the exchange cuts the connection."""
    keepalive_s: float | None
    """Call `keepalive` this often."""

    async def open(self) -> str:
        """The address to connect to, good for one connection."""
        ...

    def subscribe(self) -> Sequence[str]:
        """Messages for a fresh connection, signed now; none where the address is subscription enough."""
        ...

    async def keepalive(self) -> None: ...
    def decoder(self) -> UserDecoder: ...


class UserStream:
    """Reconnects with growing, jittered delays. Ends with CredentialsRefused or ClockSkewed where the signed
    reads confirm what the channel says of the key; every other trouble is survived.
    """

    def __init__(
        self,
        name: str,
        channel: UserChannel,
        account: AccountClient,
        clock: Clock,
        gate: Gate,
        on_limited: OnLimited,
        *,
        ack_patience_s: float = _ACK_PATIENCE_S,
        backoff: Backoff | None = None,
    ) -> None:
        """`name` is for logs and `on_limited`; `account` is closed with the stream."""
        self.name = name
        self.backoff = backoff or Backoff()
        self.reconnects = 0
        self.last_reason = ""
        self.flowing = asyncio.Event()
        """Set while the exchange has confirmed the subscription of an open connection."""
        self._channel = channel
        self._account = account
        self._clock = clock
        self._gate = gate
        self._on_limited = on_limited
        self._ack_patience_s = ack_patience_s
        self._events: asyncio.Queue[UserEvent | None] = asyncio.Queue(_EVENTS_HELD)
        self._error: Exception | None = None
        self._opened_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    # --- life -------------------------------------------------------------------------------------------
    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=self.name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """The loop over it then ends without an error."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CLOSE_S)
        await self._account.close()

    async def __aiter__(self) -> AsyncIterator[UserEvent]:
        while True:
            event = await self._events.get()
            if event is not None:
                yield event
            elif self._error is not None:
                raise self._error
            else:
                return

    async def _run(self) -> None:
        try:
            while True:
                lost = await self._live_once()
                uptime = 0.0 if self._opened_at is None else self._clock.monotonic() - self._opened_at
                delay = self.backoff.delay(uptime, retryable=lost.retryable, least_s=lost.retry_after_s)
                log.warning(
                    "user_channel_lost", channel=self.name, reason=self.last_reason,
                    uptime_s=round(uptime, 1), next_in_s=round(delay, 2), failures=self.backoff.failures,
                )  # fmt: skip
                await self._clock.sleep(delay)
                self.reconnects += 1
        except Exception as error:  # noqa: BLE001 (it reaches whoever reads the stream)
            self._error = error
        finally:
            self._make_room()
            self._events.put_nowait(None)

    async def _live_once(self) -> ConnectionLost:
        """One connection until it ends; how it did."""
        self._opened_at = None
        try:
            await self._connection()
        except ConnectionLost as lost:
            self.last_reason = lost.reason
            if lost.limited is not None:
                self._on_limited(self.name, lost.limited, lost.reason)
            return lost
        except (CredentialsRefused, ClockSkewed):
            raise
        except ExchangeError as error:
            self.last_reason = error.message
        finally:
            self.flowing.clear()
        return ConnectionLost(self.last_reason)

    # --- one connection ---------------------------------------------------------------------------------
    async def _connection(self) -> None:
        # An address may be paid for, or age: none is asked for while nobody may connect.
        await self._gate.wait()
        url = await self._channel.open()
        socket = await self._gate.open(lambda: open_socket(url))
        self._opened_at = self._clock.monotonic()
        keeper = asyncio.create_task(self._keep_alive(socket), name=f"{self.name}-keepalive")
        try:
            await self._read(socket)
        except ConnectionClosed as error:
            raise classify(error, url) from None
        finally:
            keeper.cancel()
            await socket.close()

    async def _read(self, socket: ClientConnection) -> None:
        decoder = self._channel.decoder()
        messages = self._channel.subscribe()
        for message in messages:
            await socket.send(message)
        if not messages:
            self._flow()
        while True:
            try:
                async with asyncio.timeout(self._patience()):
                    frame = await socket.recv(decode=False)
            except TimeoutError:
                self._out_of_patience()
                continue
            for told in decoder.decode(frame):
                await self._take(told)

    def _patience(self) -> float | None:
        """Seconds to wait for a frame: for the confirmation, a sign of life, or the end of the lifetime."""
        waits = [self._channel.silence_s] if self.flowing.is_set() else [self._ack_patience_s]
        if self._channel.lifetime_s is not None:
            waits.append(self._channel.lifetime_s - self._age())
        known = [wait for wait in waits if wait is not None]
        return max(0.0, min(known)) if known else None

    def _out_of_patience(self) -> None:
        if not self.flowing.is_set():
            raise ConnectionLost("the subscription was not confirmed")
        lifetime = self._channel.lifetime_s
        if lifetime is not None and self._age() >= lifetime:
            raise ConnectionLost("renewed in time")
        raise ConnectionLost(f"silent for {self._channel.silence_s:g} s")

    def _age(self) -> float:
        return 0.0 if self._opened_at is None else self._clock.monotonic() - self._opened_at

    async def _take(self, told: UserFrame) -> None:
        match told:
            case UserEvent():
                self._put(told)
            case Ack():
                self._flow()
            case SequenceGap():
                self._put(self._resumed())
            case ShutdownNotice():
                raise ConnectionLost("the exchange ends this channel")
            case Refusal() | ErrorFrame():
                reason = told.reason if isinstance(told, Refusal) else told.message
                log.warning("user_channel_error", channel=self.name, reason=reason)
                if not self.flowing.is_set():
                    # Key or clock: a signed read tells which, and sets the clock right.
                    await self._account.check()
                    raise ConnectionLost(f"the subscription was refused: {reason}")

    def _flow(self) -> None:
        if not self.flowing.is_set():
            self.flowing.set()
            log.info("user_channel_flows", channel=self.name)
            self._put(self._resumed())

    def _resumed(self) -> UserEvent:
        return UserEvent(UserEventKind.RESUMED, None, None, None, self._clock.now_ms())

    def _put(self, event: UserEvent) -> None:
        """Never waits: events nobody fetches become one that says so."""
        if self._events.full():
            self._make_room()
            event = self._resumed()
        self._events.put_nowait(event)

    def _make_room(self) -> None:
        if self._events.full():
            while not self._events.empty():
                self._events.get_nowait()

    async def _keep_alive(self, socket: ClientConnection) -> None:
        every_s = self._channel.keepalive_s
        if every_s is None:
            return
        while True:
            await self._clock.sleep(every_s)
            try:
                await self._channel.keepalive()
            except ExchangeError as error:
                log.warning("user_channel_keepalive_failed", channel=self.name, reason=error.message)
                await socket.close()
                return
