"""One WebSocket to one exchange: subscribed within its pace, acknowledged, read without ever waiting for a sink."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from livermore_dagster.clock import Clock
from livermore_dagster.errors import ExchangeError
from livermore_dagster.exchanges.contract import Dialect, StreamEvent
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Connection", "ConnectionLost", "ConnectionStats"]


class ConnectionLost(ExchangeError):
    """The connection is gone or never came. `retryable` is False where the same attempt must fail again."""

    def __init__(self, reason: str, *, retryable: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable


@dataclass(slots=True)
class ConnectionStats:
    """Counts since the connection opened."""

    frames: int = 0
    events: int = 0
    bytes: int = 0
    sequence_gaps: int = 0
    errors: int = 0
    messages_sent: int = 0
    subscribe_retries: int = 0


class Connection:
    """`async with Connection(...) as c: async for events in c: ...`

    Each turn of the loop gives every event decoded since the last one, in order. Refusals appear only after
    their retries, with the symbol; a loss raises ConnectionLost from the loop (or from `async with`).
    """

    last_frame_at: float
    """Monotonic seconds of the newest frame, of opening before the first."""
    stats: ConnectionStats

    def __init__(
        self,
        row: ExchangeRow,
        dialect: Dialect,
        symbols: Sequence[str],
        timeframes: Sequence[Timeframe],
        clock: Clock,
        name: str,
    ) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __aiter__(self) -> AsyncIterator[list[StreamEvent]]: ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is wanted of this connection now."""
        return ()

    @property
    def acknowledged(self) -> frozenset[str]:
        """Symbols whose subscription the exchange confirmed."""
        return frozenset()

    @property
    def opened_at(self) -> float:
        """Monotonic seconds of opening."""
        return 0.0

    async def resubscribe(self, add: Sequence[str], remove: Sequence[str]) -> None:
        """Change what is streamed, without a new connection."""

    async def close(self) -> None:
        """End it from our side; the loop then ends without an error."""
