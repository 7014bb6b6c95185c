"""Bars of a simulated market: columns of consecutive ones, and longer ones made of shorter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BARS_FIELDS", "Bar", "Bars", "aggregate", "join", "merge"]

BARS_FIELDS = ("open", "high", "low", "close", "lots", "quote", "trades")
_NO_LOW = np.int64(2**62)


@dataclass(frozen=True, slots=True)
class Bars:
    """Consecutive bars of one length as columns; where `has` is false there was no trade."""

    start: int
    """Open of the first bar, in minutes since the epoch."""
    minutes: int
    has: NDArray[np.bool_]
    open: NDArray[np.int64]
    high: NDArray[np.int64]
    low: NDArray[np.int64]
    close: NDArray[np.int64]
    lots: NDArray[np.int64]
    quote: NDArray[np.int64]
    """Ticks × lots."""
    trades: NDArray[np.int64]

    def slice(self, first: int, last: int) -> Bars:
        columns = {name: getattr(self, name)[first:last] for name in ("has", *BARS_FIELDS)}
        return Bars(self.start + first * self.minutes, self.minutes, **columns)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar in ticks and lots; `trades` is 0 for a bar without any."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    lots: int
    quote: int
    trades: int


def aggregate(bars: Bars, count: int) -> Bars:
    """Bars of `count` of these each; the number of bars must divide by `count`."""
    if count == 1:
        return bars
    has = bars.has.reshape(-1, count)
    if bars.has.all():
        return _aggregate_full(bars, count)
    first = has.argmax(axis=1)
    last = count - 1 - has[:, ::-1].argmax(axis=1)
    row = np.arange(has.shape[0])
    low = np.where(has, bars.low.reshape(-1, count), _NO_LOW).min(axis=1)
    some: NDArray[np.bool_] = np.asarray(has.any(axis=1))
    return Bars(
        bars.start,
        bars.minutes * count,
        some,
        bars.open.reshape(-1, count)[row, first],
        bars.high.reshape(-1, count).max(axis=1),
        np.where(some, low, 0),
        bars.close.reshape(-1, count)[row, last],
        bars.lots.reshape(-1, count).sum(axis=1),
        bars.quote.reshape(-1, count).sum(axis=1),
        bars.trades.reshape(-1, count).sum(axis=1),
    )


def _aggregate_full(bars: Bars, count: int) -> Bars:
    """The same where every bar has trades, by whole columns: several times as fast."""
    high, low = bars.high.reshape(-1, count), bars.low.reshape(-1, count)
    return Bars(
        bars.start,
        bars.minutes * count,
        bars.has[::count].copy(),  # copies: a view would keep all it was cut from
        bars.open[::count].copy(),
        _fold(np.maximum, high),
        _fold(np.minimum, low),
        bars.close[count - 1 :: count].copy(),
        _fold(np.add, bars.lots.reshape(-1, count)),
        _fold(np.add, bars.quote.reshape(-1, count)),
        _fold(np.add, bars.trades.reshape(-1, count)),
    )


def _fold(by: np.ufunc, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row folded into one number; for a few long columns, column by column."""
    if rows.shape[1] > 15:
        whole: NDArray[np.int64] = by.reduce(rows, axis=1)
        return whole
    folded = rows[:, 0].copy()
    for column in range(1, rows.shape[1]):
        by(folded, rows[:, column], out=folded)
    return folded


def join(parts: list[Bars]) -> Bars:
    if len(parts) == 1:
        return parts[0]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("has", *BARS_FIELDS)
    }
    return Bars(parts[0].start, parts[0].minutes, **columns)


def merge(open_ms: int, done: Bars, late: list[tuple[int, int, int]]) -> Bar | None:
    """One bar of all of `done` and then of the prints `late` (price, lots, trades); None without any."""
    known = np.flatnonzero(done.has)
    if known.size:
        first, last = known[0], known[-1]
        opened, closed = int(done.open[first]), int(done.close[last])
        high, low = int(done.high.max()), int(done.low[known].min())
        lots, quote, trades = int(done.lots.sum()), int(done.quote.sum()), int(done.trades.sum())
    elif late:
        opened = high = low = closed = late[0][0]
        lots = quote = trades = 0
    else:
        return None
    for price, size, count in late:
        high, low, closed = max(high, price), min(low, price), price
        lots, quote, trades = lots + size, quote + price * size, trades + count
    return Bar(open_ms, opened, high, low, closed, lots, quote, trades)
