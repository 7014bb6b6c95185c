"""What goes into the closer and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from livermore_dagster.market.candle import Candle, StampedCandle
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["CloserStats", "Effects", "Frame", "Question", "Reason", "Row"]


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

    `stalled`: connections whose candle stream stands still and should be renewed. `deaf`: symbols that trade,
    as REST shows, while their stream says nothing: they should be subscribed anew. `disbelieved`: frames that
    were passed over, by connection, and what is wrong with each.
    """

    writes: list[StampedCandle] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    absent: list[tuple[str, Timeframe, int, int]] = field(default_factory=list)
    stalled: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    disbelieved: list[tuple[str, str]] = field(default_factory=list)


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
    pauses: int = 0
    """Times a connection's updates stopped for too long and went on: what was held is doubted."""
    steps_back: int = 0
    """Times a connection's stamps stepped back and went on from there: what was held is doubted."""
    given_up: int = 0
    primed: int = 0
    """Those of `unproven` of which a snapshot alone told: they began before their connection did."""
    repeated: int = 0
    """Frames that told nothing newer: sent twice, out of order, or an older value after a newer one."""

    def doubted(self, reason: Reason) -> None:
        """A bucket that REST is asked for."""
        if reason is Reason.UNPROVEN:
            self.unproven += 1
        elif reason is Reason.SILENT:
            self.silent += 1
        else:
            self.stalls += 1
