"""What befalls a market by order: outages, off-grid candles after them, halts, listings, delistings, ranks.

An event changes the market itself, from a whole minute of market time to come: truth, REST and stream
follow alike. Times are epoch ms of market time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from livermore_dagster.simulator.market import MINUTE_MS

__all__ = ["BadEvent", "Event", "EventKind", "Fate", "Span", "checked_event"]

_LONGEST_MINUTES = 10_080
_MOST_OFF_GRID = 24
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "outage": ("minutes", "off_grid_rows", "dark"),
    "halt": ("symbol", "minutes"),
    "delisting": ("symbol",),
    "listing": ("base", "price", "quote_volume"),
    "volume": ("symbol", "quote_volume"),
}
_DEFAULT_PRICE, _DEFAULT_VOLUME = 1.25, 5e7
_BASE = re.compile(r"[A-Z0-9]{2,12}\Z")


class EventKind(StrEnum):
    OUTAGE = "outage"
    HALT = "halt"
    DELISTING = "delisting"
    LISTING = "listing"
    VOLUME = "volume"


class BadEvent(ValueError):
    """An event that cannot be; its text says why."""


@dataclass(frozen=True, slots=True)
class Event:
    event: EventKind
    at_ms: int
    symbol: str | None = None
    minutes: int = 0
    off_grid_rows: int = 0
    dark: bool = True
    base: str | None = None
    price: float = _DEFAULT_PRICE
    quote_volume: float = _DEFAULT_VOLUME

    @property
    def end_ms(self) -> int:
        return self.at_ms + self.minutes * MINUTE_MS

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name in self.fields()}

    def fields(self) -> tuple[str, ...]:
        return ("event", "at_ms", *_FIELDS[self.event.value])


@dataclass(frozen=True, slots=True)
class Span:
    """A bar that does not stand on the grid: [open, end)."""

    open_ms: int
    end_ms: int


def checked_event(wanted: Mapping[str, Any], symbols: Mapping[str, Any], now_ms: int) -> Event:
    """An event as the control door orders it. Raises BadEvent."""
    name = str(wanted.get("event"))
    if name not in _FIELDS:
        raise BadEvent(f"unknown event {wanted.get('event')!r}; there are {', '.join(_FIELDS)}")
    allowed = ("event", "at_ms", *_FIELDS[name])
    unknown = sorted(set(wanted) - set(allowed))
    if unknown:
        raise BadEvent(f"unknown fields {unknown}: {name} takes {', '.join(allowed)}")
    next_minute = now_ms - now_ms % MINUTE_MS + MINUTE_MS
    at_ms = int(_number(wanted, "at_ms", next_minute, next_minute, 10**14, whole=True))
    if at_ms % MINUTE_MS:
        raise BadEvent(f"at_ms must be a whole minute, not {at_ms}")
    fields: dict[str, Any] = {"event": EventKind(name), "at_ms": at_ms}
    if "symbol" in allowed:
        fields["symbol"] = _symbol(wanted, symbols)
    if "minutes" in allowed:
        fields["minutes"] = int(_number(wanted, "minutes", None, 1, _LONGEST_MINUTES, whole=True))
    if name == "outage":
        fields["off_grid_rows"] = int(_number(wanted, "off_grid_rows", 0, 0, _MOST_OFF_GRID, whole=True))
        fields["dark"] = wanted.get("dark", True)
        if not isinstance(fields["dark"], bool):
            raise BadEvent(f"dark must be true or false, not {fields['dark']!r}")
    if name == "listing":
        fields["base"] = _base(wanted)
        fields["price"] = _number(wanted, "price", _DEFAULT_PRICE, 1e-6, 1e7)
    if "quote_volume" in allowed:
        default = _DEFAULT_VOLUME if name == "listing" else None
        fields["quote_volume"] = _number(wanted, "quote_volume", default, 0.0, 1e12)
    return Event(**fields)


def _symbol(wanted: Mapping[str, Any], symbols: Mapping[str, Any]) -> str:
    symbol = wanted.get("symbol")
    if not isinstance(symbol, str) or symbol not in symbols:
        raise BadEvent(f"unknown symbol {symbol!r}; GET control/symbols lists them")
    return symbol


def _base(wanted: Mapping[str, Any]) -> str:
    base = wanted.get("base")
    if not isinstance(base, str) or not _BASE.match(base):
        raise BadEvent(f"base must be 2 to 12 capital letters and digits, not {base!r}")
    return base


def _number(
    wanted: Mapping[str, Any],
    name: str,
    default: float | None,
    low: float,
    high: float,
    *,
    whole: bool = False,
) -> float:
    value = wanted.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise BadEvent(f"{name} must be a {'whole ' if whole else ''}number, not {value!r}")
    if not low <= value <= high:
        raise BadEvent(f"{name} must lie between {low:g} and {high:g}, not {value!r}")
    return value


class Fate:
    """The events of one exchange, and what they mean for bars."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._spans: dict[int, list[Span]] = {}

    def add(self, event: Event) -> None:
        """Raises BadEvent where a second grid would lie over the first."""
        if event.off_grid_rows and any(known.off_grid_rows for known in self.events):
            raise BadEvent("one outage with off_grid_rows has been ordered; a market has one such")
        self.events.append(event)
        self._spans.clear()

    def of(self, kind: EventKind, symbol: str | None = None) -> list[Event]:
        return [event for event in self.events if event.event is kind and event.symbol == symbol]

    def is_dark(self, now_ms: int) -> bool:
        return any(e.dark and e.at_ms <= now_ms < e.end_ms for e in self.of(EventKind.OUTAGE))

    def is_halted(self, symbol: str, now_ms: int) -> bool:
        return any(e.at_ms <= now_ms < e.end_ms for e in self.of(EventKind.HALT, symbol))

    def is_gone(self, symbol: str, now_ms: int) -> bool:
        return any(e.at_ms <= now_ms for e in self.of(EventKind.DELISTING, symbol))

    def quote_volume(self, symbol: str, stated: float, now_ms: int) -> float:
        known = [event for event in self.of(EventKind.VOLUME, symbol) if event.at_ms <= now_ms]
        return max(known, key=lambda event: event.at_ms).quote_volume if known else stated

    def quiet(self, symbol: str) -> list[tuple[int, int]]:
        """[from, to) in which the symbol has no trades."""
        ended = [(event.at_ms, 2**62) for event in self.of(EventKind.DELISTING, symbol)]
        return ended + [
            (event.at_ms, event.end_ms)
            for event in (*self.of(EventKind.OUTAGE), *self.of(EventKind.HALT, symbol))
        ]

    def is_void(self, symbol: str, open_ms: int, end_ms: int) -> bool:
        """Whether a bar [open, end) lies wholly in downtime or after the symbol's end: there is no row."""
        outages = self.of(EventKind.OUTAGE)
        if any(event.at_ms <= open_ms and end_ms <= event.end_ms for event in outages):
            return True
        return self.is_gone(symbol, open_ms)

    def spans(self, step_ms: int) -> list[Span]:
        """Bars of this length that do not stand on the grid, oldest first and without a space between.

        The first is the grid's own, cut short where the outage ended; the last is cut short by the grid.
        """
        known = self._spans.get(step_ms)
        if known is None:
            known = self._spans[step_ms] = self._irregular(step_ms)
        return known

    def _irregular(self, step_ms: int) -> list[Span]:
        for event in self.of(EventKind.OUTAGE):
            begins = event.end_ms
            if event.off_grid_rows and begins % step_ms:
                again = (begins // step_ms + event.off_grid_rows) * step_ms
                opens = [begins + row * step_ms for row in range(event.off_grid_rows)]
                rows = [Span(one, min(one + step_ms, again)) for one in opens]
                return [Span(begins - begins % step_ms, begins), *rows]
        return []

    def span_of(self, step_ms: int, at_ms: int) -> Span:
        """The bar of this length that holds `at_ms`."""
        for span in self.spans(step_ms) if self.events else ():
            if span.open_ms <= at_ms < span.end_ms:
                return span
        open_ms = at_ms - at_ms % step_ms
        return Span(open_ms, open_ms + step_ms)
