"""The market: trades of a symbol at any absolute time, and the candles they make.

A minute holds four slots of 15 s; a slot holds at most one print (a burst of trades at one price). Prints are
a pure function of (seed, symbol, minute); candles of every length are made from the prints, as an exchange
makes its own: a bar opens with its first print, not with the last close.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from livermore_dagster.simulator.bars import BARS_FIELDS, Bar, Bars, aggregate, join, merge
from livermore_dagster.simulator.noise import draw, draw_at, grow, key_of, octave, octave_at

__all__ = ["MINUTE_MS", "Prints", "SymbolMarket", "SymbolPlan"]

MINUTE_MS = 60_000
SLOTS = 4
SLOT_MS = MINUTE_MS // SLOTS
DAY = 1440
BLOCK = 16 * DAY
"""Minutes computed at once for bars of an hour and more."""
FINE_DAYS_KEPT = 3
BLOCKS_KEPT = 400

# (period in minutes, amplitude in units of the symbol's volatility). Between 20 and 400 minutes the path
# swings more than a random walk would: trends that last some dozen 1m or 5m bars, so that MACD-V passes ±150.
_OCTAVES: tuple[tuple[int, float], ...] = (
    (2, 1.0),
    (5, 1.5),
    (13, 3.0),
    (47, 13.0),
    (171, 26.0),
    (601, 46.0),
    (2003, 100.0),
    (7001, 210.0),
    (23003, 330.0),
    (90001, 500.0),
)


@dataclass(frozen=True, slots=True)
class SymbolPlan:
    """What the market needs to know of a symbol. Prices are in ticks of 10**-price_decimals."""

    exchange: str
    symbol: str
    base: str
    """Symbols of one base share its path, on every exchange."""
    price: float
    price_decimals: int
    lot_decimals: int
    mean_lots: float
    """Mean volume of a print, in lots of 10**-lot_decimals base units."""
    volatility: float = 0.0005
    activity: float = 1.0
    """Chance of a print in a slot; 1 for a liquid symbol."""
    listed_ms: int = 0
    silent: tuple[int, int] | None = None
    """[from, to) in epoch ms without any trade."""


@dataclass(frozen=True, slots=True)
class Prints:
    """Slots of consecutive minutes as (minutes, 4) arrays."""

    has: NDArray[np.bool_]
    at: NDArray[np.int64]
    """Offset of the print in its minute, ms."""
    price: NDArray[np.int64]
    lots: NDArray[np.int64]
    trades: NDArray[np.int64]


class SymbolMarket:
    """One symbol's market. All it returns depends on the seed and the plan only; it caches what it drew."""

    def __init__(self, seed: int, plan: SymbolPlan) -> None:
        self.plan = plan
        self._prints_key = key_of(seed, "prints", plan.exchange, plan.symbol)
        self._quiet_key = key_of(seed, "quiet", plan.exchange, plan.symbol)
        self._path_keys = [key_of(seed, "path", plan.base, period) for period, _ in _OCTAVES]
        self._venue_key = key_of(seed, "venue", plan.exchange, plan.symbol)
        self._quiet: list[tuple[int, int]] = []
        self._days: OrderedDict[int, tuple[Prints, Bars]] = OrderedDict()
        self._blocks: OrderedDict[int, Bars] = OrderedDict()

    def keep_quiet(self, spans: list[tuple[int, int]]) -> None:
        """No trades in these, [from, to) in epoch ms; what was drawn is drawn anew."""
        self._quiet = spans
        self._days.clear()
        self._blocks.clear()

    # --- drawing ----------------------------------------------------------------------------------------
    def _path(self, start: int, count: int) -> NDArray[np.float64]:
        """Price at the start of each minute."""
        exponent = octave(self._venue_key, 7, start, count) * (0.5 * self.plan.volatility)
        for key, (period, amplitude) in zip(self._path_keys, _OCTAVES, strict=True):
            exponent += octave(key, period, start, count) * (amplitude * self.plan.volatility)
        return self.plan.price * grow(exponent)

    def prints(self, start: int, count: int) -> Prints:
        """Prints of the minutes start … start + count − 1."""
        plan = self.plan
        bits = draw(self._prints_key, start * SLOTS, count * SLOTS).reshape(count, SLOTS)
        path = self._path(start, count + 1)
        minute = np.arange(start, start + count, dtype=np.int64)
        mood = octave(self._quiet_key, 30, start, count) if plan.activity < 1.0 else None
        return self._prints_of(bits, path[:-1], path[1:], self._occupied(bits, minute, mood))

    def prints_at(self, minutes: NDArray[np.int64]) -> Prints:
        """Prints of any minutes, in any order: the same as `prints` gives, without what lies between."""
        bits = draw_at(self._prints_key, minutes[:, None] * SLOTS + np.arange(SLOTS, dtype=np.int64))
        mood = octave_at(self._quiet_key, 30, minutes) if self.plan.activity < 1.0 else None
        path, after = self._path_at(minutes), self._path_at(minutes + 1)
        return self._prints_of(bits, path, after, self._occupied(bits, minutes, mood))

    def _path_at(self, minutes: NDArray[np.int64]) -> NDArray[np.float64]:
        exponent = octave_at(self._venue_key, 7, minutes) * (0.5 * self.plan.volatility)
        for key, (period, amplitude) in zip(self._path_keys, _OCTAVES, strict=True):
            exponent += octave_at(key, period, minutes) * (amplitude * self.plan.volatility)
        return self.plan.price * grow(exponent)

    def _prints_of(
        self,
        bits: NDArray[np.uint64],
        path: NDArray[np.float64],
        after: NDArray[np.float64],
        has: NDArray[np.bool_],
    ) -> Prints:
        """`path` and `after`: the price at each minute's start and at its end."""
        plan = self.plan
        share = (np.arange(SLOTS, dtype=np.float64) + 0.5) / SLOTS
        middle = path[:, None] + (after - path)[:, None] * share[None, :]
        shake = (bits & np.uint64(0xFFFFF)).astype(np.float64) * 2.0**-19 - 1.0
        price = middle * (1.0 + shake * plan.volatility) * 10.0**plan.price_decimals
        size = ((bits >> np.uint64(20)) & np.uint64(0xFFFFF)).astype(np.float64) * 2.0**-20
        lots = (0.1 + 2.7 * size * size) * plan.mean_lots
        offset = ((bits >> np.uint64(40)) & np.uint64(0x3FFF)).astype(np.int64) * SLOT_MS >> 14
        burst = 12 if plan.activity >= 1.0 else 1
        trades = 1 + ((bits >> np.uint64(12)) & np.uint64(0xFF)).astype(np.int64) % burst
        return Prints(
            has,
            offset + np.arange(SLOTS, dtype=np.int64)[None, :] * SLOT_MS,
            np.where(has, np.maximum(np.rint(price).astype(np.int64), 1), 0),
            np.where(has, np.rint(lots).astype(np.int64) + 1, 0),
            np.where(has, trades, 0),
        )

    def _occupied(
        self, bits: NDArray[np.uint64], minutes: NDArray[np.int64], mood: NDArray[np.float64] | None
    ) -> NDArray[np.bool_]:
        plan = self.plan
        if mood is None:
            has = np.ones(bits.shape, dtype=np.bool_)
        else:
            # Busy and quiet half-hours, as thin markets have them.
            busy = plan.activity * (1.0 + 0.7 * mood)
            has = (bits >> np.uint64(54)).astype(np.float64) < (busy * 1024.0)[:, None]
        minute = minutes * MINUTE_MS
        has &= (minute >= plan.listed_ms)[:, None]
        for start, stop in self._quiet if plan.silent is None else (plan.silent, *self._quiet):
            has &= ((minute < start) | (minute >= stop))[:, None]
        return has

    def _minute_bars(self, start: int, prints: Prints) -> Bars:
        flat = Bars(
            start,
            1,
            prints.has.reshape(-1),
            prints.price.reshape(-1),
            prints.price.reshape(-1),
            prints.price.reshape(-1),
            prints.price.reshape(-1),
            prints.lots.reshape(-1),
            (prints.price * prints.lots).reshape(-1),
            prints.trades.reshape(-1),
        )
        bars = aggregate(flat, SLOTS)
        columns = {name: getattr(bars, name) for name in ("has", *BARS_FIELDS)}
        return Bars(start, 1, **columns)

    def _day(self, day: int) -> tuple[Prints, Bars]:
        kept = self._days.get(day)
        if kept is None:
            prints = self.prints(day * DAY, DAY)
            kept = prints, self._minute_bars(day * DAY, prints)
            self._days[day] = kept
            while len(self._days) > FINE_DAYS_KEPT:
                self._days.popitem(last=False)
        else:
            self._days.move_to_end(day)
        return kept

    def _hours(self, block: int) -> Bars:
        kept = self._blocks.get(block)
        if kept is None:
            start = block * BLOCK
            kept = aggregate(self._minute_bars(start, self.prints(start, BLOCK)), 60)
            self._blocks[block] = kept
            while len(self._blocks) > BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        return kept

    def undrawn(self, minutes: int, first_ms: int, last_ms: int) -> list[int]:
        """Blocks that bars of this length over [first, last) need and that are not drawn yet."""
        if minutes < 60 or last_ms <= first_ms:
            return []
        size = BLOCK * MINUTE_MS
        first = max(first_ms, self.plan.listed_ms) // size
        return [block for block in range(first, (last_ms - 1) // size + 1) if block not in self._blocks]

    def draw_block(self, block: int) -> None:
        """Draws one of the `undrawn`: some 10 ms of work."""
        self._hours(block)

    # --- candles ----------------------------------------------------------------------------------------
    def bars(self, minutes: int, first_ms: int, count: int) -> Bars:
        """`count` complete bars of `minutes` (a divisor of a day) from the one opening at `first_ms`."""
        start = first_ms // MINUTE_MS
        stop = start + count * minutes
        if minutes >= 60:
            hours = [self._hours(block) for block in range(start // BLOCK, (stop - 1) // BLOCK + 1)]
            skip = (start - hours[0].start) // 60
            return aggregate(join(hours).slice(skip, skip + count * minutes // 60), minutes // 60)
        days = [self._day(day)[1] for day in range(start // DAY, (stop - 1) // DAY + 1)]
        return aggregate(join(days).slice(start - days[0].start, stop - days[0].start), minutes)

    def bar_at(self, minutes: int, at_ms: int) -> Bar | None:
        """The bar that holds `at_ms` with its prints up to and including `at_ms`; None without any yet."""
        return self.span_at(at_ms - at_ms % (minutes * MINUTE_MS), at_ms)

    def span_at(self, open_ms: int, at_ms: int) -> Bar | None:
        """The bar from `open_ms`, a whole minute, up to and including `at_ms`; None without any print."""
        minute, into = divmod(at_ms, MINUTE_MS)
        start = open_ms // MINUTE_MS
        prints, _ = self._day(minute // DAY)
        in_day = minute % DAY
        days = [self._day(day)[1] for day in range(start // DAY, minute // DAY + 1)]
        done = join(days).slice(start - days[0].start, minute - days[0].start)
        late = [
            (
                int(prints.price[in_day, slot]),
                int(prints.lots[in_day, slot]),
                int(prints.trades[in_day, slot]),
            )
            for slot in range(SLOTS)
            if prints.has[in_day, slot] and prints.at[in_day, slot] <= into
        ]
        return merge(open_ms, done, late)

    def last_price(self, before_ms: int) -> int | None:
        """Price in ticks of the newest print before `before_ms`; None when there was none."""
        minute = before_ms // MINUTE_MS
        bar = self.bar_at(DAY, before_ms - 1) if before_ms > self.plan.listed_ms else None
        if bar is not None:
            return bar.close
        block = (minute - minute % DAY - 1) // BLOCK
        stop = (minute - minute % DAY) * MINUTE_MS
        while (block + 1) * BLOCK * MINUTE_MS > self.plan.listed_ms and block >= 0:
            hours = self._hours(block)
            known = np.flatnonzero(hours.has[: max(0, (stop // MINUTE_MS - hours.start) // 60)])
            if known.size:
                return int(hours.close[known[-1]])
            block -= 1
        return None

    @cached_property
    def first_trade_ms(self) -> int:
        """Open (ms) of the first minute with a trade."""
        minute = self.plan.listed_ms // MINUTE_MS
        while True:
            known = np.flatnonzero(self._day(minute // DAY)[1].has[minute % DAY :])
            if known.size:
                return int(minute + known[0]) * MINUTE_MS
            minute += DAY - minute % DAY
