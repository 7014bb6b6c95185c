"""What changed since the last look, in words: for the screen's events, for logs and for pipes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from livermore_dagster.platform.watch import AlertLine, ExchangeView, Watch

__all__ = ["News"]

LOOK_S = 1.0
REMIND_S = 60.0
"""A standing error is told again this often, a changed one at once."""
PULSE_S = 15.0
INCIDENTS_AT_ONCE = 3


class News:
    """`look` tells each exchange's changes of state and errors; with `chatty` also alerts and a pulse.

    The live screen shows alerts and figures itself; lines on standard error have nothing else.
    """

    def __init__(self, watch: Watch, tell: Callable[[str], None], *, chatty: bool) -> None:
        self._watch = watch
        self._tell = tell
        self._chatty = chatty
        self._looked = 0.0
        self._pulsed = time.monotonic()
        self._states: dict[str, str] = {}
        self._symbols: dict[str, int] = {}
        self._errors: dict[str, tuple[str, float]] = {}
        self._alerts: set[tuple[str, str, str, str, int]] | None = None
        self._closes: dict[str, int] = {}

    def look(self) -> None:
        """At most once a second."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        if self._chatty:
            self._watch.refresh()
            self._tell_alerts(self._watch.alerts)
        for view in self._watch.exchanges:
            self._closes.setdefault(view.row.name, view.counters.get("closes", 0))
            self._tell_state(view)
            self._tell_symbols(view)
            self._tell_error(view, now)
        self._tell_incidents()
        if self._chatty and now - self._pulsed >= PULSE_S:
            self._pulsed = now
            self._tell_pulse(self._watch.exchanges)

    def _tell_incidents(self) -> None:
        found = self._watch.new_incidents()
        names = {view.row.id: view.row.name for view in self._watch.exchanges}
        for one in found[:INCIDENTS_AT_ONCE]:
            place = names.get(one.exchange_id or 0, "")
            text = one.text if place in one.text else f"{place}: {one.text}"
            self._tell(f"ERROR {text}" if one.severity == "error" else text)
        if len(found) > INCIDENTS_AT_ONCE:
            self._tell(f"… and {len(found) - INCIDENTS_AT_ONCE} incidents more.")

    def _tell_state(self, view: ExchangeView) -> None:
        before = self._states.get(view.row.name)
        if view.state in (before, "?"):
            return
        self._states[view.row.name] = view.state
        wanted = view.desired == "running"
        if before is None and (view.state == "idle" or (view.state in ("stopped", "offline") and not wanted)):
            # Each exchange begins so; one that shall run tells its start in a moment, or why it cannot.
            return
        symbols = f", {len(view.symbols)} symbols" if view.state == "active" else ""
        self._tell(f"{view.row.name} is {view.state}{symbols}.")

    def _tell_symbols(self, view: ExchangeView) -> None:
        """Held and wished ones join those an exchange started with."""
        name, now = view.row.name, len(view.symbols)
        if view.state != "active" or not now:
            return
        before = self._symbols.get(name, now)
        self._symbols[name] = now
        if now != before:
            self._tell(f"{name} monitors {now} symbols now, {before} before.")

    def _tell_error(self, view: ExchangeView, now: float) -> None:
        error, name = view.last_error, view.row.name
        if not error or view.state == "active" or view.desired != "running":
            return
        told, at = self._errors.get(name, ("", 0.0))
        if error != told or now - at >= REMIND_S:
            self._errors[name] = (error, now)
            said = error.rstrip(". ")
            self._tell(f"{name} could not start: {said}. It is tried again; `livermore doctor` looks deeper.")

    def _tell_alerts(self, alerts: Sequence[AlertLine]) -> None:
        known = {(one.exchange, one.symbol, one.timeframe, one.label, one.candle_end_ms) for one in alerts}
        if self._alerts is not None:
            for one in reversed(alerts):
                key = (one.exchange, one.symbol, one.timeframe, one.label, one.candle_end_ms)
                if key not in self._alerts:
                    text = f"{one.symbol} {one.timeframe} {one.label}, MACD-V {one.macdv:.1f}"
                    self._tell(f"alert: {one.exchange} {text}")
        self._alerts = known

    def _tell_pulse(self, views: Sequence[ExchangeView]) -> None:
        parts = []
        for view in views:
            closes = view.counters.get("closes", 0)
            new = closes - self._closes[view.row.name]
            self._closes[view.row.name] = closes
            if view.state == "warming" and view.warmup_percent is not None:
                parts.append(f"{view.row.name} warming {view.warmup_percent:.0f} %")
            elif view.state == "active":
                boundaries = view.counters.get("boundaries", 0)
                parts.append(f"{view.row.name} {new} candles closed, boundaries so far: {boundaries}")
        if parts:
            self._tell("; ".join(parts))
