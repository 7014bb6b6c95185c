"""Faults a test may order: what they are, whom they concern, and how long they last (real seconds)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["BadFault", "Fault", "FaultBoard", "FaultKind"]


class FaultKind(StrEnum):
    DROP = "drop"
    """Cut connections without a closing handshake."""
    STALL = "stall"
    """The socket stays open, heartbeats and pongs go on, no data comes; numbers show no hole."""
    SILENCE = "silence"
    """The socket stays open and nothing at all is sent."""
    DUPLICATE = "duplicate"
    """Data frames are sent twice."""
    REORDER = "reorder"
    """A data frame is sent after the one that follows it."""
    LOSE = "lose"
    """Data frames are lost; sequence numbers show it."""
    REFUSE_SUBSCRIPTION = "refuse_subscription"
    """The symbol is left out of what a subscription gives."""
    SHUTDOWN = "shutdown"
    """Announce the end of connections where the exchange does so, and cut them `duration_s` later."""
    REFUSE_CONNECTION = "refuse_connection"
    """WebSocket upgrades are answered with 503."""
    RATE_LIMIT = "rate_limit"
    """REST answers 429."""
    BAN = "ban"
    """REST answers as to a banned address."""
    FOREIGN_WEIGHT = "foreign_weight"
    """Another process behind the same address uses `count` units of the weight limit, at once."""
    ERROR_PAGE = "error_page"
    """REST answers 503 with an HTML page, as an exchange's edge does."""
    LATE_ROW = "late_row"
    """REST lacks the newest closed candle."""
    REVISE = "revise"
    """REST shows the newest closed candle with less volume than it will have later."""
    SKEW = "skew"
    """The exchange's stated time is `skew_ms` off."""


_NEEDS_SYMBOL = frozenset({FaultKind.REFUSE_SUBSCRIPTION})
_FIELDS = frozenset({"kind", "symbol", "connection", "channel", "duration_s", "count", "after_s", "skew_ms"})
_CHANNELS = ("candles", "ticker")
_LONGEST_S = 86_400.0


class BadFault(ValueError):
    """A fault order that cannot be; its text says why."""


@dataclass(slots=True)
class Fault:
    """`count`: how many times it may strike (None: as often as it can); both limits end it."""

    id: int
    kind: FaultKind
    symbol: str | None
    connection: int | None
    channel: str | None
    duration_s: float
    count: int | None
    skew_ms: int
    begins: float
    done: int = field(default=0)

    @property
    def ends(self) -> float:
        return self.begins + self.duration_s

    def as_json(self, now: float) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind.value,
            "symbol": self.symbol,
            "connection": self.connection,
            "channel": self.channel,
            "count": self.count,
            "skew_ms": self.skew_ms,
            "done": self.done,
            "active": self.begins <= now < self.ends and (self.count is None or self.done < self.count),
            "seconds_left": round(max(0.0, self.ends - now), 3),
        }


class FaultBoard:
    """The faults ordered of one exchange."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._ids = itertools.count(1)

    def order(self, wanted: Mapping[str, Any], symbols: Mapping[str, Any]) -> Fault:
        """Checks and takes an order. Raises BadFault."""
        unknown = sorted(set(wanted) - _FIELDS)
        if unknown:
            raise BadFault(f"unknown fields {unknown}; there are {sorted(_FIELDS)}")
        try:
            kind = FaultKind(wanted.get("kind", ""))
        except ValueError:
            kinds = ", ".join(kind.value for kind in FaultKind)
            raise BadFault(f"unknown kind {wanted.get('kind')!r}; there are {kinds}") from None
        symbol, channel = wanted.get("symbol"), wanted.get("channel")
        if symbol is not None and symbol not in symbols:
            raise BadFault(f"unknown symbol {symbol!r}")
        if symbol is None and kind in _NEEDS_SYMBOL:
            raise BadFault(f"{kind.value} needs a symbol")
        if channel is not None and channel not in _CHANNELS:
            raise BadFault(f"unknown channel {channel!r}; there are {', '.join(_CHANNELS)}")
        count = wanted.get("count")
        if count is not None:
            count = int(_number(wanted, "count", 1, 1, 1_000_000, whole=True))
        if kind is FaultKind.FOREIGN_WEIGHT and count is None:
            raise BadFault("foreign_weight needs a count, the weight used")
        connection = wanted.get("connection")
        if connection is not None:
            connection = int(_number(wanted, "connection", 0, 1, 2**31, whole=True))
        # A fault bounded by a count alone lasts until it has struck that often.
        lasting = _LONGEST_S if count is not None else 10.0
        fault = Fault(
            id=next(self._ids),
            kind=kind,
            symbol=symbol,
            connection=connection,
            channel=channel,
            duration_s=_number(wanted, "duration_s", lasting, 0.0, _LONGEST_S),
            count=count,
            skew_ms=int(_number(wanted, "skew_ms", 0, -86_400_000, 86_400_000, whole=True)),
            begins=time.monotonic() + _number(wanted, "after_s", 0.0, 0.0, _LONGEST_S),
        )
        self.faults = [*self.faults[-199:], fault]
        return fault

    def find(
        self,
        kind: FaultKind,
        *,
        symbol: str | None = None,
        connection: int | None = None,
        channel: str | None = None,
    ) -> Fault | None:
        """The active fault of this kind that concerns these, if any."""
        if not self.faults:
            return None
        now = time.monotonic()
        for fault in self.faults:
            if (
                fault.kind is kind
                and fault.begins <= now < fault.ends
                and (fault.count is None or fault.done < fault.count)
                and fault.symbol in (None, symbol)
                and fault.connection in (None, connection)
                and fault.channel in (None, channel)
            ):
                return fault
        return None

    def strike(
        self,
        kind: FaultKind,
        *,
        symbol: str | None = None,
        connection: int | None = None,
        channel: str | None = None,
    ) -> bool:
        """Whether such a fault is active; counts it."""
        fault = self.find(kind, symbol=symbol, connection=connection, channel=channel)
        if fault is None:
            return False
        fault.done += 1
        return True


def _number(
    wanted: Mapping[str, Any], name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    value = wanted.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise BadFault(f"{name} must be a {'whole ' if whole else ''}number, not {value!r}")
    if not low <= value <= high:
        raise BadFault(f"{name} must lie between {low:g} and {high:g}, not {value!r}")
    return float(value)
