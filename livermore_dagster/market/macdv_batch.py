"""MACD-V over whole columns: the fold of `macdv_fold.step`, vectorised.

|batch − steps| ≤ 1e-12 × (close / ATR) × 100 + 1e-9.

An exponential average is computed in blocks: one matrix product gives each block's own part, a short loop
over the blocks carries the past in. Nothing but numpy is needed for C speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

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
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Columns", "batch"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_BLOCK: Final = 64


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
    _inner: dict[str, Any] = field(repr=False)

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
        if n_eff == 0:
            return State(FORMULA, self.tf_ms, first, -1, open_ms, -1, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)
        inner = self._inner
        # The certain part: an unobserved row's own bar is not stepped over yet.
        bar = int(inner["certain_bar"][index])
        at = int(inner["certain_at"][index])
        count = min(int(inner["n_values"][at]), SIGNAL)
        return State(
            FORMULA, self.tf_ms, first, self.seed_open_ms, open_ms, int(inner["observed_ms"][index]), bar,
            n_eff, bar - int(inner["bar0"]) + 1 + int(inner["same_bar"][index]),
            float(inner["closes"][at]), float(inner["fast"][at]), float(inner["slow"][at]),
            float(inner["atr_by_n"][n_eff - 1]), count, float(inner["signal"][at]) if count else 0.0,
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
    if np.any(np.diff(opens) <= 0):
        raise ValueError("Opens must rise.")
    observed = volumes > 0.0
    if not observed.any():
        return _nothing(opens, observed, timeframe.ms)
    return _compute(opens, highs, lows, closes, observed, timeframe.ms)


def _nothing(opens: Ints, observed: Bools, tf_ms: int) -> Columns:
    nan = np.full(len(opens), np.nan)
    zero = np.zeros(len(opens), dtype=np.int64)
    return Columns(tf_ms, opens, nan, nan, nan, observed, zero, zero, -1, observed, {})


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
    fast, slow = _ema(expanded, FAST), _ema(expanded, SLOW)
    macdv, dead = _values(fast, slow, atr_by_n[number - 1], expanded, number)
    valued = ~np.isnan(macdv)
    n_values = np.cumsum(valued)
    line = _ema(macdv[valued], SIGNAL)
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
    inner = {
        "closes": expanded, "fast": fast, "slow": slow, "atr_by_n": atr_by_n, "n_values": n_values,
        "signal": held, "certain_bar": certain_bar, "certain_at": certain, "bar0": bars[0],
        "same_bar": extra[last], "observed_ms": opens[rows][last],
    }  # fmt: skip
    columns = Columns(
        tf_ms, opens, shown, lined, shown - lined, observed, np.where(known, seen, 0), span,
        int(opens[rows[0]]), known & dead[place], inner,
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


def _values(fast: Floats, slow: Floats, atr: Floats, closes: Floats, number: Ints) -> tuple[Floats, Bools]:
    """MACD-V along the expanded series, and where it lacks for want of movement."""
    seeded = number >= ATR
    dead = seeded & (atr < ATR_FLOOR * closes)
    usable = seeded & ~dead
    macdv = np.full(len(closes), np.nan)
    np.divide(100.0 * (fast - slow), atr, out=macdv, where=usable)
    return macdv, dead


def _atr(high: Floats, low: Floats, close: Floats) -> Floats:
    """Wilder's ATR by observed bar; sums while it is being seeded."""
    ranges = high - low
    previous = close[:-1]
    ranges[1:] = np.maximum(high[1:], previous) - np.minimum(low[1:], previous)
    return _recursion(ranges, ATR, 1.0 / ATR)


def _ema(values: Floats, length: int) -> Floats:
    return _recursion(values, length, 2.0 / (length + 1))


def _recursion(values: Floats, length: int, alpha: float) -> Floats:
    """y = y + alpha (x − y), seeded with the mean of the first `length`; running sums before that."""
    out = np.cumsum(values)
    if len(values) < length:
        return out
    out[length - 1] /= length
    rest = values[length:]
    if not len(rest):
        out[length:] = 0.0
        return out
    out[length:] = _blocked(rest, alpha, float(out[length - 1]))
    out[:length] = np.concatenate((np.cumsum(values[: length - 1]), [out[length - 1]]))
    return out


@cache
def _kernel(alpha: float) -> tuple[Floats, Floats]:
    """Weights of a block's own values (columns: where they count), and of what comes before the block."""
    power = np.arange(_BLOCK)
    lag = power[None, :] - power[:, None]
    weights: Floats = np.where(lag >= 0, alpha * (1.0 - alpha) ** np.maximum(lag, 0), 0.0)
    decay: Floats = np.power(1.0 - alpha, power + 1.0)
    return weights, decay


def _blocked(values: Floats, alpha: float, before: float) -> Floats:
    weights, decay = _kernel(alpha)
    blocks = -(-len(values) // _BLOCK)
    # Relative to the start the sums stay small, and a constant series stays exactly constant.
    padded = np.zeros(blocks * _BLOCK)
    padded[: len(values)] = values - before
    own = padded.reshape(blocks, _BLOCK) @ weights
    carries = np.empty(blocks)
    carry, shrink = 0.0, float(decay[-1])
    for index, end in enumerate(own[:, -1].tolist()):
        carries[index] = carry
        carry = carry * shrink + end
    own += carries[:, None] * decay
    return own.reshape(-1)[: len(values)] + before
