"""MACD-V over whole columns: the fold of `macdv_fold.step`, vectorised.

|batch − steps| ≤ 1e-12 × (close / ATR) × 100 + 1e-9. A series without gaps goes a short way of its own: it
needs nothing but the averages. Everything only a state asks for is computed when one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from livermore_dagster.market.macdv_fold import (
    ATR,
    ATR_FLOOR,
    FAST,
    FORMULA,
    IDLE_CAP,
    LOW_ACTIVITY,
    NO_MOVEMENT,
    SETTLED_FROM,
    SIGNAL,
    SLOW,
    MacdvPoint,
    State,
    idle,
    point_of,
)
from livermore_dagster.market.recursion import average, difference
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Columns", "batch"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_A_FAST: Final = 2.0 / (FAST + 1)
_A_SLOW: Final = 2.0 / (SLOW + 1)
_A_SIGNAL: Final = 2.0 / (SIGNAL + 1)
_A_ATR: Final = 1.0 / ATR
_SHORT: Final = 64
"""Rows below which there is nothing to gain from a way of its own."""


class _Places(NamedTuple):
    """By input row, where the certain part of its state stands: an unobserved row's own bar is not stepped
    over yet."""

    at: Ints
    """Position in the expanded series."""
    bar: Ints
    observed_ms: Ints
    same_bar: Ints
    """Observed rows so far that shared a bar with the one before them."""


@dataclass
class _Track:
    """What a state needs beyond the columns."""

    high: Floats
    low: Floats
    close: Floats
    """Of the observed rows."""
    expanded: Floats
    """Closes, absent bars repeating the last one; `macdv` and `signal` go along it."""
    macdv: Floats
    signal: Floats
    places: _Places | None
    """None: each row stands at its own position."""

    @cached_property
    def fast(self) -> Floats:
        return average(self.expanded, FAST, _A_FAST)

    @cached_property
    def slow(self) -> Floats:
        return average(self.expanded, SLOW, _A_SLOW)

    @cached_property
    def atr(self) -> Floats:
        return _atr(self.high, self.low, self.close)

    @cached_property
    def n_values(self) -> Ints:
        return np.cumsum(~np.isnan(self.macdv))

    def held(self, at: int, count: int) -> float:
        """The signal; while it is being seeded the sum so far."""
        return float(self.signal[at] if count >= SIGNAL else np.nansum(self.macdv[: at + 1]))


@dataclass(frozen=True, slots=True)
class Columns:
    """One entry per input row, missing values NaN; `point(i)` and `state(i)` are what `step` gives."""

    tf_ms: int
    open_ms: Ints
    macdv: Floats
    signal: Floats
    histogram: Floats
    observed: Bools
    n_eff: Ints
    span_bars: Ints
    seed_open_ms: int
    """Open of the first observed row; -1 without one."""
    no_movement: Bools
    """ATR below 1e-9 × close: no value for that reason."""
    _track: _Track | None = field(repr=False)
    """None without an observed row."""

    def __len__(self) -> int:
        return len(self.open_ms)

    @property
    def seeded(self) -> Bools:
        return self.n_eff >= ATR

    @property
    def warming(self) -> Bools:
        return self.n_eff < SETTLED_FROM

    def reason(self, index: int) -> str | None:
        if self.n_eff[index] < ATR:
            return LOW_ACTIVITY
        return NO_MOVEMENT if self.no_movement[index] else None

    def point(self, index: int) -> MacdvPoint:
        return MacdvPoint(
            int(self.open_ms[index]),
            _optional(self.macdv[index]),
            _optional(self.signal[index]),
            _optional(self.histogram[index]),
            bool(self.observed[index]),
            int(self.n_eff[index]),
            int(self.span_bars[index]),
            self.seed_open_ms if self.n_eff[index] else -1,
            self.reason(index),
        )

    def state(self, index: int) -> State:
        """The fold's state after row `index`."""
        first, open_ms, n_eff = int(self.open_ms[0]), int(self.open_ms[index]), int(self.n_eff[index])
        track = self._track
        if n_eff == 0 or track is None:
            return State(FORMULA, self.tf_ms, first, -1, open_ms, -1, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)
        at, bar, observed_ms, same_bar = index, open_ms // self.tf_ms, open_ms, 0
        if track.places is not None:
            at, bar, observed_ms, same_bar = (int(column[index]) for column in track.places)
        count = min(int(track.n_values[at]), SIGNAL)
        return State(
            FORMULA, self.tf_ms, first, self.seed_open_ms, open_ms, observed_ms, bar,
            n_eff, bar - self.seed_open_ms // self.tf_ms + 1 + same_bar,
            float(track.expanded[at]), float(track.fast[at]), float(track.slow[at]),
            float(track.atr[n_eff - 1]), count, track.held(at, count),
        )  # fmt: skip


def _optional(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def batch(
    open_ms: Sequence[int] | Ints,
    high: Sequence[float] | Floats,
    low: Sequence[float] | Floats,
    close: Sequence[float] | Floats,
    volume: Sequence[float] | Floats,
    timeframe: Timeframe,
) -> Columns:
    """MACD-V of a series, oldest row first. Absent bars and zero-volume rows are unobserved.

    Raises ValueError unless the opens rise and the columns are equally long.
    """
    opens = np.asarray(open_ms, dtype=np.int64)
    highs, lows = np.asarray(high, dtype=np.float64), np.asarray(low, dtype=np.float64)
    closes, volumes = np.asarray(close, dtype=np.float64), np.asarray(volume, dtype=np.float64)
    if not len(opens) == len(highs) == len(lows) == len(closes) == len(volumes):
        raise ValueError("Columns of unequal length.")
    shortest, longest = _distances(opens)
    if shortest <= 0:
        raise ValueError("Opens must rise.")
    if len(opens) >= _SHORT and volumes.min() > 0.0:
        gapless = shortest == timeframe.ms == longest
        found = (_gapless if gapless else _sparse)(opens, highs, lows, closes, timeframe.ms)
        if found is not None:
            return found
    observed = volumes > 0.0
    if not observed.any():
        return _nothing(opens, observed, timeframe.ms)
    return _compute(opens, highs, lows, closes, observed, timeframe.ms)


def _distances(opens: Ints) -> tuple[int, int]:
    """The shortest and the longest from one open to the next, in ms; 1 where there are not two."""
    if len(opens) < 2:
        return 1, 1
    distances = opens[1:] - opens[:-1]
    return int(distances.min()), int(distances.max())


def _nothing(opens: Ints, observed: Bools, tf_ms: int) -> Columns:
    nan = np.full(len(opens), np.nan)
    zero = np.zeros(len(opens), dtype=np.int64)
    return Columns(tf_ms, opens, nan, nan, nan, observed, zero, zero, -1, observed, None)


def _gapless(opens: Ints, highs: Floats, lows: Floats, closes: Floats, tf_ms: int) -> Columns | None:
    """All rows observed and next to each other. None when somewhere the price does not move at all."""
    # One piece of memory, and the columns' own places for what comes before them: fresh pages cost more than
    # the sums.
    macdv, signal, histogram = np.empty((3, len(opens)))
    ranges = _true_ranges(highs, lows, closes, histogram, signal)
    atr = average(ranges, ATR, _A_ATR, signal)[ATR - 1 :]
    if not atr.min() >= ATR_FLOOR * closes.max():
        return None
    macdv[: ATR - 1] = np.nan
    _apart(closes, macdv)
    np.divide(macdv[ATR - 1 :], atr, out=macdv[ATR - 1 :])
    average(macdv[ATR - 1 :], SIGNAL, _A_SIGNAL, signal[ATR - 1 :])
    signal[: ATR + SIGNAL - 2] = np.nan
    np.subtract(macdv, signal, out=histogram)
    count, observed = np.arange(1, len(opens) + 1), np.ones(len(opens), dtype=np.bool_)
    return Columns(
        tf_ms, opens, macdv, signal, histogram, observed, count, count, int(opens[0]), ~observed,
        _Track(highs, lows, closes, closes, macdv, signal, None),
    )  # fmt: skip


def _sparse(opens: Ints, highs: Floats, lows: Floats, closes: Floats, tf_ms: int) -> Columns | None:
    """All rows observed, some bars absent. None when two rows share a bar, or the price does not move."""
    bars = opens // tf_ms
    steps = np.diff(bars)
    if steps.min() < 1:
        return None
    repeats = np.ones(len(opens), dtype=np.int64)
    np.minimum(steps, IDLE_CAP + 1, out=repeats[:-1])
    at = np.empty(len(opens), dtype=np.int64)
    at[0] = 0
    np.cumsum(repeats[:-1], out=at[1:])
    macdv, signal, histogram = np.empty((3, len(opens)))
    ranges = _true_ranges(highs, lows, closes, histogram, signal)
    atr = average(ranges, ATR, _A_ATR, signal)
    if not atr[ATR - 1 :].min() >= ATR_FLOOR * closes.max():
        return None
    # The values along all bars, an absent one repeating the close and the range before it.
    expanded = np.repeat(closes, repeats)
    along, line = np.empty((2, len(expanded)))
    first = int(at[ATR - 1])
    _apart(expanded, along)
    along[:first] = np.nan
    np.divide(along[first:], np.repeat(atr[ATR - 1 :], repeats[ATR - 1 :]), out=along[first:])
    average(along[first:], SIGNAL, _A_SIGNAL, line[first:])
    line[: first + SIGNAL - 1] = np.nan
    np.take(along, at, out=macdv, mode="clip")
    np.take(line, at, out=signal, mode="clip")
    np.subtract(macdv, signal, out=histogram)
    observed = np.ones(len(opens), dtype=np.bool_)
    alone = np.broadcast_to(np.int64(0), len(opens))
    return Columns(
        tf_ms, opens, macdv, signal, histogram, observed, np.arange(1, len(opens) + 1), bars - (bars[0] - 1),
        int(opens[0]), ~observed,
        _Track(highs, lows, closes, expanded, along, line, _Places(at, bars, opens, alone)),
    )  # fmt: skip


def _compute(
    opens: Ints, highs: Floats, lows: Floats, closes: Floats, observed: Bools, tf_ms: int
) -> Columns:
    rows = np.flatnonzero(observed)
    bars = opens[rows] // tf_ms
    absent = np.maximum(np.diff(bars) - 1, 0)
    stepped = np.minimum(absent, IDLE_CAP)
    # Positions of the observed rows in the expanded series, in which absent bars repeat the last close.
    at = np.concatenate(([0], np.cumsum(stepped + 1)))
    seen: Ints = np.cumsum(observed, dtype=np.int64)
    tail = int(min(max(0, opens[-1] // tf_ms - bars[-1]), IDLE_CAP))
    repeats = np.concatenate((stepped + 1, [1 + tail]))
    expanded = np.repeat(closes[rows], repeats)
    number = np.repeat(np.arange(1, len(rows) + 1), repeats)
    atr_by_n = _atr(highs[rows], lows[rows], closes[rows])
    macdv, dead = _values(atr_by_n[number - 1], expanded, number)
    valued = ~np.isnan(macdv)
    n_values = np.cumsum(valued)
    line = average(macdv[valued], SIGNAL, _A_SIGNAL)
    held = line[np.maximum(n_values - 1, 0)] if len(line) else np.zeros(len(macdv))
    signal = np.where(n_values >= SIGNAL, held, np.nan)
    # Where each input row stands: an observed row at its own position, a filler row in the idle stretch after
    # the last observed one, tentatively at its own bar.
    place, certain, certain_bar, last, shared = _places(opens, tf_ms, seen, bars, at)
    known = seen > 0
    shown = np.where(known, macdv[place], np.nan)
    lined = np.where(known, signal[place], np.nan)
    extra = np.arange(len(rows)) + 1 + np.concatenate(([0], np.cumsum(absent))) - (bars - bars[0] + 1)
    span = np.where(known, np.maximum(opens // tf_ms, bars[last]) - bars[0] + 1 + extra[last], 0)
    track = _Track(
        highs[rows], lows[rows], closes[rows], expanded, macdv, signal,
        _Places(certain, certain_bar, opens[rows][last], extra[last]),
    )  # fmt: skip
    columns = Columns(
        tf_ms, opens, shown, lined, shown - lined, observed, np.where(known, seen, 0), span,
        int(opens[rows[0]]), known & dead[place], track,
    )  # fmt: skip
    for index in np.flatnonzero(known & shared).tolist():
        point = point_of(idle(columns.state(index), 1))
        shown[index] = np.nan if point.macdv is None else point.macdv
        lined[index] = np.nan if point.signal is None else point.signal
        columns.histogram[index] = shown[index] - lined[index]
    return columns


def _places(
    opens: Ints, tf_ms: int, seen: Ints, bars: Ints, at: Ints
) -> tuple[Ints, Ints, Ints, Ints, Bools]:
    """Per input row: position shown, position of the certain state, bar of the latter, number of the last
    observed row, and whether it is a filler row whose bar a later observed row off the grid shares."""
    last = np.maximum(seen - 1, 0)
    beyond = np.maximum(opens // tf_ms - bars[last], 0)
    # A filler row's own bar is shown and not yet certain.
    sure = np.maximum(beyond - 1, 0)
    upper = np.concatenate((at[1:] - 1, [np.iinfo(np.int64).max]))[last]
    place = np.minimum(at[last] + np.minimum(beyond, IDLE_CAP), np.maximum(upper, at[last]))
    certain = np.minimum(at[last] + np.minimum(sure, IDLE_CAP), np.maximum(upper, at[last]))
    return place, certain, bars[last] + sure, last, at[last] + np.minimum(beyond, IDLE_CAP) > place


def _values(atr: Floats, closes: Floats, number: Ints) -> tuple[Floats, Bools]:
    """MACD-V along the expanded series, and where it lacks for want of movement."""
    seeded = number >= ATR
    dead = seeded & (atr < ATR_FLOOR * closes)
    macdv = np.full(len(closes), np.nan)
    _apart(closes, macdv)
    macdv[~seeded | dead] = np.nan
    np.divide(macdv, atr, out=macdv, where=seeded & ~dead)
    return macdv, dead


def _apart(closes: Floats, out: Floats) -> None:
    """100 × (fast average − slow average), from the row on that has both."""
    head = closes[:SLOW]
    if len(head) < SLOW:
        return
    fast, slow = average(head, FAST, _A_FAST)[-1], average(head, SLOW, _A_SLOW)[-1]
    out[SLOW - 1] = fast - slow
    difference(closes[SLOW:], _A_FAST, _A_SLOW, (float(fast), float(slow)), out[SLOW:])
    out[SLOW - 1 :] *= 100.0


def _true_ranges(high: Floats, low: Floats, close: Floats, out: Floats, spare: Floats) -> Floats:
    """Into `out`; what stood in `spare` is lost."""
    out[0], spare[0] = high[0], low[0]
    np.maximum(high[1:], close[:-1], out=out[1:])
    np.minimum(low[1:], close[:-1], out=spare[1:])
    return np.subtract(out, spare, out=out)


def _atr(high: Floats, low: Floats, close: Floats) -> Floats:
    """Wilder's ATR by observed bar; sums while it is being seeded."""
    ranges = _true_ranges(high, low, close, np.empty(len(high)), np.empty(len(high)))
    return average(ranges, ATR, _A_ATR)
