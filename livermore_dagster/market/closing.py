"""When a streamed candle is final: only when that is proven (P3).

One `Closer` serves one exchange. It does no I/O: frames, clock readings, breaks and REST replies go in, writes
and questions come out. The caller writes `Effects.writes` to the candle cache in order, and has
`Effects.questions` answered by REST, whose reply comes back through `on_rest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from livermore_dagster.market.candle import Candle, StampedCandle
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Closer", "CloserStats", "Effects", "Frame", "Question", "Reason", "Row"]


class Frame(Protocol):
    """A candle as streamed (exchanges.contract.CandleFrame is one)."""

    @property
    def symbol(self) -> str: ...
    @property
    def timeframe(self) -> Timeframe: ...
    @property
    def candle(self) -> Candle: ...
    @property
    def event_ms(self) -> int: ...
    @property
    def snapshot(self) -> bool: ...
    @property
    def closed(self) -> bool | None: ...
    @property
    def trades(self) -> int: ...


class Row(Protocol):
    """A row of a REST reply (exchanges.contract.RestCandle is one)."""

    @property
    def candle(self) -> Candle: ...
    @property
    def trades(self) -> int: ...


class Reason(StrEnum):
    """Why REST is asked."""

    SILENT = "silent"
    """No frame for the bucket: silence is never absence."""
    UNPROVEN = "unproven"
    """Frames came, but its connection broke, or its closed flag did not come."""
    STALL = "stall"
    """The candle stream itself stood still."""


@dataclass(frozen=True, slots=True)
class Question:
    """Ask REST for the buckets that open in [from_ms, to_ms). `rank`: position in the universe, 0 first."""

    symbol: str
    timeframe: Timeframe
    from_ms: int
    to_ms: int
    reason: Reason
    rank: int


@dataclass(slots=True)
class Effects:
    """What follows from one input. `absent`: ranges REST proved to hold no candle, for the ledger.

    `stalled`: connections whose candle stream stands still and should be renewed.
    """

    writes: list[StampedCandle] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    absent: list[tuple[str, Timeframe, int, int]] = field(default_factory=list)
    stalled: set[str] = field(default_factory=set)


@dataclass(slots=True)
class CloserStats:
    """Buckets closed by each proof, and what was not as it should be."""

    by_flag: int = 0
    by_successor: int = 0
    by_clock: int = 0
    by_rest: int = 0
    late: int = 0
    revisions: int = 0
    silent: int = 0
    unproven: int = 0
    stalls: int = 0
    given_up: int = 0


class Closer:
    """Decides for each symbol and streamed timeframe of one exchange when its candles are final.

    `symbols` in rank order. `flagged`: the exchange sends a closed flag (quirks.closed_flag). `grace_ms` is
    exchange time after a candle's end. The waits (`silent_wait_ms`, `flag_wait_ms`, `flow_wait_ms`) cover
    latencies and the update cadence, which are real time: they are multiplied by `speed`, which the service
    sets from `ExchangeClock.speed`.

    Proof by the clock needs more than the clock: a candle frame (of any symbol) of the same connection at or
    after the candle's end, so that a stream that stalls under live heartbeats closes nothing.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        timeframes: Sequence[Timeframe],
        *,
        flagged: bool,
        grace_ms: int = 1_500,
        settle_ms: int = 5_000,
        silent_wait_ms: int = 5_000,
        flag_wait_ms: int = 10_000,
        flow_wait_ms: int = 5_000,
    ) -> None:
        self.timeframes = tuple(timeframes)
        self.speed = 1.0
        self.stats = CloserStats()

    def monitor(self, symbols: Sequence[str]) -> None:
        """The monitored symbols from now on, in rank order; those gone are forgotten."""

    def on_frame(self, frame: Frame, connection: str) -> Effects:
        """A candle frame of `connection` (its name)."""

    def on_frames(self, frames: Iterable[Frame], connection: str) -> Effects:
        """A burst of frames, in order."""

    def on_clock(self, exchange_ms: int) -> Effects:
        """The exchange clock reads `exchange_ms`. Call after every burst and about 10 times a second."""

    def on_break(self, connection: str, reason: str) -> Effects:
        """Frames of `connection` may have been lost: it dropped, stalled, was renewed, skipped a sequence number."""

    def on_rest(
        self,
        symbol: str,
        timeframe: Timeframe,
        from_ms: int,
        to_ms: int,
        rows: Sequence[Row],
        asked_ms: int,
    ) -> Effects:
        """REST answered for all of [from_ms, to_ms) when asked at exchange time `asked_ms` or later.

        `rows` may hold open rows and rows outside the range; they count as evidence only.
        """

    def on_given_up(self, symbol: str, timeframe: Timeframe, from_ms: int, to_ms: int) -> None:
        """REST could not answer for [from_ms, to_ms): it is no longer waited for (the next audit finds it)."""

    def open_questions(self) -> list[Question]:
        """Questions asked and not yet settled, in rank order."""

    def settled_until(self) -> int:
        """Exchange ms through which every monitored series is final, proven absent or given up; 0 at first."""

    def series_settled_until(self, symbol: str, timeframe: Timeframe) -> int:
        """The same of one series."""
