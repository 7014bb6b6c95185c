"""MACD-V, one candle at a time: 100 × (EMA12 − EMA26 of close) / Wilder ATR26, with its EMA9 signal (S1, S2).

An *observed* bar is a row with volume > 0. Rows with volume 0 and bars that are not there at all are the same
thing, unobserved: the averages step with the last observed close, the ATR gets no true range. How many bars
lie between two observed rows follows from their opens alone, max(0, floor(t2/tf) − floor(t1/tf) − 1), so that
taking filler rows away changes nothing.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from livermore_dagster.market.candle import Candle
from livermore_dagster.market.timeframe import Timeframe

__all__ = [
    "ATR_FLOOR",
    "FORMULA",
    "IDLE_CAP",
    "LOW_ACTIVITY",
    "NO_MOVEMENT",
    "PUBLISH_FROM",
    "SETTLED_FROM",
    "MacdvPoint",
    "State",
    "fold",
    "point_of",
    "step",
]

FORMULA: Final = 1
"""Version of the formula and its seeding; a state of another version is re-seeded."""
FAST: Final = 12
SLOW: Final = 26
ATR: Final = 26
SIGNAL: Final = 9
ATR_FLOOR: Final = 1e-9
"""Of the close: below it there is no range to measure with."""
PUBLISH_FROM: Final = 60
"""Observed bars before a value leaves the platform (R12)."""
SETTLED_FROM: Final = 200
"""Observed bars from which the seed no longer moves the value noticeably (R12)."""
IDLE_CAP: Final = 2_000
"""Unobserved bars stepped over one by one; by then (25/27)^n has vanished and nothing moves any more."""
LOW_ACTIVITY: Final = "Low trading activity"
NO_MOVEMENT: Final = "No price movement"

_A_FAST: Final = 2.0 / (FAST + 1)
_A_SLOW: Final = 2.0 / (SLOW + 1)
_A_SIGNAL: Final = 2.0 / (SIGNAL + 1)


class State(NamedTuple):
    """All the fold knows after a row. Immutable, about 200 bytes as JSON.

    While an average is still being seeded its field holds the sum so far.
    """

    formula: int
    tf_ms: int
    first_open_ms: int
    """Open of the first row ever folded, observed or not."""
    seed_open_ms: int
    """Open of the first observed row; -1 before it."""
    open_ms: int
    """Open of the newest row folded, observed or not."""
    observed_ms: int
    """Open of the newest observed row; -1 before it."""
    bar: int
    """floor(open / tf) up to which bars are counted."""
    n_eff: int
    """Observed bars."""
    span_bars: int
    """Bars from the seed on, unobserved ones included."""
    close: float
    """Last observed close."""
    fast: float
    slow: float
    atr: float
    n_values: int
    """Bars that had a MACD-V, up to 9."""
    signal: float

    def to_json(self) -> str:
        return json.dumps(list(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> State | None:
        """None when it was written by another formula: seed anew."""
        values = json.loads(text)
        return cls(*values) if values and values[0] == FORMULA and len(values) == len(cls._fields) else None


class MacdvPoint(NamedTuple):
    """MACD-V at one row. Values are None where there are none; `reason` then says why."""

    open_ms: int
    macdv: float | None
    signal: float | None
    histogram: float | None
    observed: bool
    n_eff: int
    span_bars: int
    seed_open_ms: int
    reason: str | None

    @property
    def seeded(self) -> bool:
        """26 observed bars are there, so the ATR is."""
        return self.n_eff >= ATR

    @property
    def warming(self) -> bool:
        """The seed still moves the value."""
        return self.n_eff < SETTLED_FROM

    @property
    def publishable(self) -> bool:
        return self.n_eff >= PUBLISH_FROM

    @property
    def gap_ratio(self) -> float:
        """Share of unobserved bars since the seed, 0…1."""
        return 1.0 - self.n_eff / self.span_bars if self.span_bars else 0.0


def begin(tf_ms: int, open_ms: int) -> State:
    """A series at its first row, which is still to be folded."""
    return State(FORMULA, tf_ms, open_ms, -1, open_ms - 1, -1, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)


def step(state: State | None, candle: Candle, timeframe: Timeframe) -> tuple[State, MacdvPoint]:
    """Folds one candle (canonical text); bars missing since the state's newest row count as unobserved.

    Raises ValueError for a candle that does not open after the state's newest row.
    """
    return fold(
        state,
        timeframe.ms,
        candle.open_ms,
        float(candle.high),
        float(candle.low),
        float(candle.close),
        float(candle.volume),
    )


def fold(
    state: State | None, tf_ms: int, open_ms: int, high: float, low: float, close: float, volume: float
) -> tuple[State, MacdvPoint]:
    """`step` on plain numbers."""
    state = begin(tf_ms, open_ms) if state is None else state
    if open_ms <= state.open_ms:
        raise ValueError(f"A candle at {open_ms} cannot follow one at {state.open_ms}.")
    if volume <= 0.0:
        return _unobserved(state, open_ms)
    if state.n_eff == 0:
        return _seeded(state, open_ms, close, high - low)
    bar = open_ms // tf_ms
    if bar > state.bar + 1:
        state = idle(state, bar - state.bar - 1)
    _, _, first, seed, _, _, _, n_eff, span, last, fast, slow, atr, n_values, signal = state
    if span >= SLOW:
        fast += _A_FAST * (close - fast)
        slow += _A_SLOW * (close - slow)
    else:
        fast, slow = _seed_averages(span + 1, fast, slow, close)
    # Spelled out: min and max would take a quarter of the whole step.
    true_range = (high if high > last else last) - (low if low < last else last)  # noqa: FURB136
    n_eff += 1
    span += 1
    if n_eff > ATR:
        atr += (true_range - atr) / ATR
    else:
        atr += true_range
        if n_eff == ATR:
            atr /= ATR
    macdv: float | None = None
    reason: str | None = None
    if n_eff < ATR:
        reason = LOW_ACTIVITY
    elif atr < ATR_FLOOR * close:
        reason = NO_MOVEMENT
    else:
        macdv = 100.0 * (fast - slow) / atr
        if n_values >= SIGNAL:
            signal += _A_SIGNAL * (macdv - signal)
        else:
            n_values += 1
            signal = signal + macdv if n_values < SIGNAL else (signal + macdv) / SIGNAL
    after = State(
        FORMULA, tf_ms, first, seed, open_ms, open_ms, bar, n_eff, span, close, fast, slow, atr, n_values,
        signal,
    )  # fmt: skip
    shown = signal if n_values >= SIGNAL else None
    histogram = macdv - shown if macdv is not None and shown is not None else None
    return after, MacdvPoint(open_ms, macdv, shown, histogram, True, n_eff, span, seed, reason)


def _seeded(state: State, open_ms: int, close: float, true_range: float) -> tuple[State, MacdvPoint]:
    """The first observed row of a series."""
    tf_ms = state.tf_ms
    seeded = State(
        FORMULA, tf_ms, state.first_open_ms, open_ms, open_ms, open_ms, open_ms // tf_ms, 1, 1, close, close,
        close, true_range, 0, 0.0,
    )  # fmt: skip
    return seeded, MacdvPoint(open_ms, None, None, None, True, 1, 1, open_ms, LOW_ACTIVITY)


def _seed_averages(span: int, fast: float, slow: float, close: float) -> tuple[float, float]:
    """Averages at bar `span` (from 1) of a series whose slow one is still a sum."""
    slow += close
    if span == SLOW:
        slow /= SLOW
    if span > FAST:
        return fast + _A_FAST * (close - fast), slow
    fast += close
    return (fast / FAST if span == FAST else fast), slow


def idle(state: State, bars: int) -> State:
    """The state after `bars` unobserved bars."""
    close, fast, slow, atr = state.close, state.fast, state.slow, state.atr
    n_values, signal, span = state.n_values, state.signal, state.span_bars
    valued = state.n_eff >= ATR and atr >= ATR_FLOOR * close
    for _ in range(min(bars, IDLE_CAP)):
        if span >= SLOW:
            fast += _A_FAST * (close - fast)
            slow += _A_SLOW * (close - slow)
        else:
            fast, slow = _seed_averages(span + 1, fast, slow, close)
        span += 1
        if valued:
            macdv = 100.0 * (fast - slow) / atr
            if n_values >= SIGNAL:
                signal += _A_SIGNAL * (macdv - signal)
            else:
                n_values += 1
                signal = signal + macdv if n_values < SIGNAL else (signal + macdv) / SIGNAL
    return state._replace(
        bar=state.bar + bars,
        span_bars=state.span_bars + bars,
        fast=fast,
        slow=slow,
        n_values=n_values,
        signal=signal,
    )


def _unobserved(state: State, open_ms: int) -> tuple[State, MacdvPoint]:
    """A filler row. Bars before it are certain by now; its own stays tentative, for an observed row off the
    grid may still open in the same bar."""
    if state.n_eff == 0:
        state = state._replace(open_ms=open_ms)
        return state, MacdvPoint(open_ms, None, None, None, False, 0, 0, -1, LOW_ACTIVITY)
    bar = open_ms // state.tf_ms
    certain = bar - 1 - state.bar
    state = idle(state, certain)._replace(open_ms=open_ms) if certain > 0 else state._replace(open_ms=open_ms)
    return state, point_of(idle(state, 1) if bar > state.bar else state, observed=False)


def point_of(state: State, *, observed: bool = True) -> MacdvPoint:
    """The values a state stands for."""
    macdv: float | None = None
    reason: str | None = None
    if state.n_eff < ATR:
        reason = LOW_ACTIVITY
    elif state.atr < ATR_FLOOR * state.close:
        reason = NO_MOVEMENT
    else:
        macdv = 100.0 * (state.fast - state.slow) / state.atr
    signal = state.signal if state.n_values >= SIGNAL else None
    histogram = macdv - signal if macdv is not None and signal is not None else None
    return MacdvPoint(
        state.open_ms, macdv, signal, histogram, observed, state.n_eff, state.span_bars, state.seed_open_ms,
        reason,
    )  # fmt: skip
