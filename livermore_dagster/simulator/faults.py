"""Faults a test may order: how an order is checked, whom it concerns, and how long it lasts."""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from livermore_dagster.market.timeframe import TIMEFRAMES
from livermore_dagster.simulator.fault_kinds import ACTS, AIMS, OWN, RULES, FaultKind

__all__ = ["Aim", "BadFault", "Fault", "FaultBoard", "FaultKind"]

_TIMES = ("after_s", "duration_s", "from_ms", "until_ms", "count")
_CHANNELS = ("candles", "ticker", "user")
_ENDPOINTS = ("ping", "time", "products", "product", "candles", "tickers", "account")
_LONGEST_S = 86_400.0
_LATEST_MS = 10**14
_KEPT = 2000


class BadFault(ValueError):
    """A fault order that cannot be; its text says why."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Whom a fault concerns; None: all."""

    symbol: str | None = None
    connection: int | None = None
    channel: str | None = None
    timeframe: str | None = None
    endpoint: str | None = None

    def meets(self, passing: Aim) -> bool:
        return (
            self.symbol in (None, passing.symbol)
            and self.connection in (None, passing.connection)
            and self.channel in (None, passing.channel)
            and self.timeframe in (None, passing.timeframe)
            and self.endpoint in (None, passing.endpoint)
        )


@dataclass(slots=True)
class Fault:
    """`count`: how many times it may strike (None: as often as it can); every limit given ends it."""

    id: int
    kind: FaultKind
    aim: Aim
    begins: float
    """Monotonic seconds."""
    duration_s: float
    from_ms: int | None
    until_ms: int | None
    """Market time, the end not included."""
    count: int | None
    own: Mapping[str, Any]
    """The kind's own fields, checked; a field not given has its default."""
    done: int = field(default=0)

    @property
    def ends(self) -> float:
        return self.begins + self.duration_s

    def is_over(self, real: float, market_ms: int) -> bool:
        return (
            real >= self.ends
            or (self.count is not None and self.done >= self.count)
            or (self.until_ms is not None and market_ms >= self.until_ms)
        )

    def is_active(self, real: float, market_ms: int) -> bool:
        begun = real >= self.begins and (self.from_ms is None or market_ms >= self.from_ms)
        return begun and not self.is_over(real, market_ms)

    def as_json(self, real: float, market_ms: int) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind.value,
            **{name: getattr(self.aim, name) for name in AIMS},
            **self.own,
            "count": self.count,
            "from_ms": self.from_ms,
            "until_ms": self.until_ms,
            "done": self.done,
            "active": self.is_active(real, market_ms),
            "seconds_left": round(max(0.0, self.ends - real), 3),
        }


class FaultBoard:
    """The faults ordered of one exchange. `market_ms` gives market time."""

    def __init__(self, exchange: str, market_ms: Callable[[], int]) -> None:
        self.exchange = exchange
        self.faults: deque[Fault] = deque(maxlen=_KEPT)
        """The newest, oldest first."""
        self.ordered = 0
        self.done: Counter[str] = Counter()
        """How often each kind struck, since the simulator began."""
        self._market_ms = market_ms
        self._live: dict[FaultKind, list[Fault]] = {}
        self._ids = itertools.count(1)

    @property
    def is_quiet(self) -> bool:
        """No fault is active or to come."""
        return not self._live

    def order(self, wanted: Mapping[str, Any], symbols: Mapping[str, Any]) -> Fault:
        """Checks and takes an order. Raises BadFault."""
        kind = _kind_of(wanted)
        if kind is FaultKind.SEQUENCE_GAP and self.exchange != "coinbase":
            raise BadFault(f"sequence_gap is Coinbase's: {self.exchange} numbers no frames")
        rule = RULES[kind]
        allowed = ("kind", *_times_of(kind), *rule.aims, *rule.own)
        unknown = sorted(set(wanted) - set(allowed))
        if unknown:
            raise BadFault(f"unknown fields {unknown}: {kind.value} takes {', '.join(allowed)}")
        for name in rule.needs:
            if wanted.get(name) is None:
                article = "a symbol" if name == "symbol" else f"a {name}"
                raise BadFault(f"{kind.value} needs {article}")
        aim = _aim_of(wanted, symbols)
        own = {name: _own(wanted, name) for name in rule.own}
        if kind is FaultKind.STALE_SNAPSHOT and wanted.get("stale_ms") is None:
            own["stale_ms"] = 60_000
        fault = self._timed(kind, aim, own, wanted)
        self.faults.append(fault)
        self.ordered += 1
        if kind not in ACTS:
            self._live.setdefault(kind, []).append(fault)
        return fault

    def _timed(self, kind: FaultKind, aim: Aim, own: dict[str, Any], wanted: Mapping[str, Any]) -> Fault:
        count, from_ms, until_ms = (_optional(wanted, name) for name in ("count", "from_ms", "until_ms"))
        # A shutdown's duration is how long before it is announced: it goes with any beginning.
        real = ("after_s",) if kind is FaultKind.SHUTDOWN else ("after_s", "duration_s")
        if from_ms is not None and any(wanted.get(name) is not None for name in real):
            raise BadFault("from_ms is market time: give until_ms or count with it, no after_s, duration_s")
        if from_ms is not None and until_ms is None and count is None and kind not in ACTS:
            raise BadFault("from_ms needs until_ms or count: when shall it end?")
        if until_ms is not None and until_ms <= (from_ms if from_ms is not None else self._market_ms()):
            raise BadFault(f"until_ms {until_ms} is not after its beginning")
        # A fault bounded by a count or by market time alone lasts until then.
        lasting = 10.0 if count is None and until_ms is None else _LONGEST_S
        return Fault(
            id=next(self._ids),
            kind=kind,
            aim=aim,
            begins=time.monotonic() + _number(wanted, "after_s", 0.0, 0.0, _LONGEST_S),
            duration_s=_number(wanted, "duration_s", lasting, 0.0, _LONGEST_S),
            from_ms=from_ms,
            until_ms=until_ms,
            count=count,
            own=own,
        )

    def find(self, kind: FaultKind, **passing: Any) -> Fault | None:
        """The active fault of this kind that concerns these (fields of Aim), if any."""
        live = self._live.get(kind)
        if live is None:
            return None
        real, market_ms = time.monotonic(), self._market_ms()
        if any(fault.is_over(real, market_ms) for fault in live):
            live = [fault for fault in live if not fault.is_over(real, market_ms)]
            if not live:
                del self._live[kind]
                return None
            self._live[kind] = live
        aim = Aim(**passing)
        for fault in live:
            if fault.is_active(real, market_ms) and fault.aim.meets(aim):
                return fault
        return None

    def note(self, fault: Fault, times: int = 1) -> None:
        """Counts that a fault struck."""
        fault.done += times
        self.done[fault.kind.value] += times

    def strike(self, kind: FaultKind, **passing: Any) -> Fault | None:
        """The same as `find`, and counts it."""
        fault = self.find(kind, **passing)
        if fault is not None:
            self.note(fault)
        return fault

    def skew_ms(self, where: str) -> int:
        """How far the stated time is off now, over 'rest' or in the 'stream'."""
        if self.find(FaultKind.SKEW) is None:
            return 0
        real, market_ms = time.monotonic(), self._market_ms()
        for fault in self._live[FaultKind.SKEW]:
            if fault.own["where"] in (None, where) and fault.is_active(real, market_ms):
                self.note(fault)
                return int(fault.own["skew_ms"])
        return 0

    def tidy(self) -> None:
        """Forgets what is over."""
        for kind in list(self._live):
            self.find(kind)


def _times_of(kind: FaultKind) -> tuple[str, ...]:
    if kind not in ACTS:
        return _TIMES
    return ("after_s", "from_ms", "duration_s") if kind is FaultKind.SHUTDOWN else ("after_s", "from_ms")


def _kind_of(wanted: Mapping[str, Any]) -> FaultKind:
    try:
        return FaultKind(wanted.get("kind", ""))
    except ValueError:
        kinds = ", ".join(kind.value for kind in FaultKind)
        raise BadFault(f"unknown kind {wanted.get('kind')!r}; there are {kinds}") from None


def _aim_of(wanted: Mapping[str, Any], symbols: Mapping[str, Any]) -> Aim:
    symbol = wanted.get("symbol")
    if symbol is not None and symbol not in symbols:
        raise BadFault(f"unknown symbol {symbol!r}; GET control/symbols lists them")
    connection = wanted.get("connection")
    if connection is not None:
        connection = int(_number(wanted, "connection", 0, 1, 2**31, whole=True))
    timeframes = tuple(tf.value for tf in TIMEFRAMES)
    chosen = {
        name: _choice(wanted, name, choices)
        for name, choices in (("channel", _CHANNELS), ("timeframe", timeframes), ("endpoint", _ENDPOINTS))
    }
    return Aim(symbol=symbol, connection=connection, **chosen)


def _own(wanted: Mapping[str, Any], name: str) -> Any:
    rule = OWN[name]
    if rule.choices:
        return _choice(wanted, name, rule.choices) or rule.default
    if wanted.get(name) is None:
        return rule.default
    number = _number(wanted, name, 0.0, rule.low, rule.high, whole=rule.whole)
    if name == "code" and (number in (1004, 1005, 1006) or 1015 <= number < 3000):
        raise BadFault(f"code {number:g} never travels in a closing frame; take 1000, 1001, 1008, 1011 …")
    return int(number) if rule.whole else number


def _choice(wanted: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str | None:
    value = wanted.get(name)
    if value is not None and value not in choices:
        raise BadFault(f"unknown {name} {value!r}; there are {', '.join(choices)}")
    return value


def _optional(wanted: Mapping[str, Any], name: str) -> int | None:
    if wanted.get(name) is None:
        return None
    low, high = (1, 1_000_000) if name == "count" else (0, _LATEST_MS)
    return int(_number(wanted, name, 0.0, low, high, whole=True))


def _number(
    wanted: Mapping[str, Any], name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    value = wanted.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise BadFault(f"{name} must be a {'whole ' if whole else ''}number, not {value!r}")
    if not low <= value <= high:
        raise BadFault(f"{name} must lie between {low:g} and {high:g}, not {value!r}")
    return float(value)
