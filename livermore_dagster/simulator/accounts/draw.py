"""The orders an account once placed and how they were filled, as columns: a function of seed, name and sizes.

Fills are priced at the market's own prints of their minute, so each lies between low and high of the candle
it fell into, in every timeframe. Prices are in ticks, sizes in lots of the symbol.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livermore_dagster.simulator.market import MINUTE_MS, Prints
from livermore_dagster.simulator.noise import draw, draw_at, key_of
from livermore_dagster.simulator.universe import Listing
from livermore_dagster.simulator.venue import Venue

__all__ = [
    "CANCELLED",
    "FILLED",
    "LIMIT",
    "MAKER",
    "MARKET",
    "OPEN",
    "QUOTE",
    "Drawn",
    "Sizes",
    "draw_trades",
]

Ints = NDArray[np.int64]
MARKET, QUOTE, MAKER, LIMIT = 0, 1, 2, 3
"""Kinds of order: market by size, market by amount of quote, post-only limit, limit that may take."""
FILLED, CANCELLED, OPEN = 0, 1, 2
_DAY_MS = 86_400_000
_OPEN_ORDERS = 4
_SEARCHES = 12
"""How often another minute is tried where a thin market had no trade."""
_SEASONS = np.array([2, 1, 4, 8, 3, 1, 2, 5, 9, 3, 2, 4], dtype=np.int64)
"""How busy each twelfth of the time is, in parts: 30-day volume rises and falls through the tiers."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much an account traded: `orders` over `symbols` products in the `days` before the run began."""

    orders: int = 1500
    symbols: int = 45
    days: int = 365
    fills_per_order: float = 2.0
    """Mean of the orders that filled."""


@dataclass(slots=True)
class Drawn:
    """Orders by creation; fills by order. All columns of each have one length."""

    symbol: Ints
    """Index into the products traded."""
    sell: NDArray[np.bool_]
    kind: Ints
    status: Ints
    created: Ints
    updated: Ints
    lots: Ints
    limit: Ints
    """Ticks; 0 for a market order."""
    fill_order: Ints
    fill_at: Ints
    fill_ticks: Ints
    fill_lots: Ints
    fill_maker: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Minutes:
    """What each order's minute, and the two after it, had: first print, lowest and highest price."""

    at: Ints
    ticks: Ints
    low: Ints
    high: Ints
    has: NDArray[np.bool_]


def draw_trades(
    venue: Venue, account: str, sizes: Sizes, listings: list[Listing], quote_price: dict[str, float]
) -> Drawn:
    """`quote_price`: rough value of each quote currency in USD, for the size of orders."""
    return _Drawer(venue, account, sizes, listings, quote_price).drawn()


class _Drawer:
    def __init__(
        self,
        venue: Venue,
        account: str,
        sizes: Sizes,
        listings: list[Listing],
        quote_price: dict[str, float],
    ) -> None:
        self.venue, self.sizes, self.listings, self.quote_price = venue, sizes, listings, quote_price
        self.end = venue.clock.origin_ms // MINUTE_MS - 10
        self.start = self.end - sizes.days * 1440
        self._key = venue.seed, "trades", venue.name, account

    def bits(self, what: str, count: int | None = None) -> Ints:
        """Random numbers from 0 to 2**31 − 1."""
        drawn = draw(key_of(*self._key, what), 0, self.sizes.orders if count is None else count)
        return (drawn >> np.uint64(33)).astype(np.int64)

    def drawn(self) -> Drawn:
        symbol = self._symbols()
        minute, season = self._minutes(symbol)
        order = np.lexsort((np.arange(len(minute)), minute))
        symbol, minute, season = symbol[order], minute[order], season[order]
        kind, outcome = self._kinds()
        before = self._what_the_market_was(symbol, minute)
        sell, lots = self._sizes(symbol, season, before.ticks[:, 0])
        filled = before.has[:, 0] & (outcome >= 10) | ((kind <= QUOTE) & before.has[:, 0])
        status = np.where(filled & ((outcome >= 16) | (kind <= QUOTE)), FILLED, CANCELLED)
        last_limits = np.flatnonzero(kind >= MAKER)[-_OPEN_ORDERS:]
        status[last_limits] = OPEN
        return self._fill(symbol, minute, kind, status, filled, sell, lots, before)

    # --- orders -----------------------------------------------------------------------------------------
    def _symbols(self) -> Ints:
        """Every product at least once where there are orders enough, the first ones far more often."""
        count = len(self.listings)
        weights = np.cumsum(1_000_000 // (np.arange(count) + 2))
        chosen = np.searchsorted(weights, self.bits("symbol") % weights[-1], side="right")
        chosen[: min(count, self.sizes.orders)] = np.arange(min(count, self.sizes.orders))
        return np.asarray(chosen, dtype=np.int64)

    def _minutes(self, symbol: Ints) -> tuple[Ints, Ints]:
        """The minute of each order, and the season it falls into."""
        parts = np.cumsum(_SEASONS)
        season = np.searchsorted(parts, self.bits("season") % parts[-1], side="right").astype(np.int64)
        length = max(1, (self.end - self.start) // len(_SEASONS))
        minute = self.start + season * length + self.bits("minute") % length
        listed = np.array([item.plan.listed_ms // MINUTE_MS + 1440 for item in self.listings])[symbol]
        late = np.maximum(self.end - listed, 1)
        minute = np.where(minute < listed, self.end - 1 - self.bits("late") % late, minute)
        for round_ in range(_SEARCHES):
            empty = ~self._has_print(symbol, minute)
            if not empty.any():
                break
            step = 1 + self.bits(f"search{round_}") % 97
            moved = np.where(empty, minute + step, minute)
            minute = np.where(moved < self.end, moved, minute)
        return minute, season

    def _has_print(self, symbol: Ints, minute: Ints) -> NDArray[np.bool_]:
        has = np.ones(len(symbol), dtype=np.bool_)
        for index, item in enumerate(self.listings):
            if item.plan.activity < 1.0 or item.plan.silent is not None:
                mine = np.flatnonzero(symbol == index)
                has[mine] = self._prints(item, minute[mine]).has.any(axis=1)
        return has

    def _prints(self, item: Listing, minutes: Ints) -> Prints:
        return self.venue.market(item.symbol).prints_at(minutes)

    def _kinds(self) -> tuple[Ints, Ints]:
        """The kind of each order, and of 100 what became of it: below 10 nothing, below 16 a part."""
        share = self.bits("kind") % 100
        kind = np.select([share < 30, share < 40, share < 85], [MARKET, QUOTE, MAKER], LIMIT)
        return kind.astype(np.int64), self.bits("outcome") % 100

    def _what_the_market_was(self, symbol: Ints, minute: Ints) -> _Minutes:
        shape = (len(symbol), 3)
        at, ticks, low, high = (np.zeros(shape, dtype=np.int64) for _ in range(4))
        has = np.zeros(shape, dtype=np.bool_)
        for index, item in enumerate(self.listings):
            mine = np.flatnonzero(symbol == index)
            for after in range(3):
                prints = self._prints(item, minute[mine] + after)
                rows, first = np.arange(len(mine)), prints.has.argmax(axis=1)
                at[mine, after] = (minute[mine] + after) * MINUTE_MS + prints.at[rows, first]
                ticks[mine, after] = prints.price[rows, first]
                low[mine, after] = np.where(prints.has, prints.price, 2**62).min(axis=1)
                high[mine, after] = prints.price.max(axis=1)
                has[mine, after] = prints.has.any(axis=1)
        return _Minutes(at, ticks, low, high, has)

    def _sizes(self, symbol: Ints, season: Ints, ticks: Ints) -> tuple[NDArray[np.bool_], Ints]:
        """Side and lots: buys by an amount in USD, sells by a share of the buy before them."""
        unit = self.bits("amount").astype(np.float64) * 2.0**-31
        usd = (15.0 + 24_000.0 * unit * unit * unit * unit) * (0.25 + _SEASONS[season] / 4.0)
        scale = np.array(
            [
                10.0 ** (x.plan.price_decimals + x.plan.lot_decimals) / self.quote_price[x.quote]
                for x in self.listings
            ]
        )[symbol]
        lots = np.maximum(
            1, (usd * scale / np.where(ticks > 0, ticks, self._rough_ticks(symbol))).astype(np.int64)
        )
        sell = self.bits("side") % 100 < 47
        share = 30 + self.bits("share") % 68
        for index in range(len(self.listings)):
            mine = np.flatnonzero(symbol == index)
            if not len(mine):
                continue
            sell[mine[0]] = index % 9 == 8  # some begin with a sale: of what was transferred in
            bought = np.maximum.accumulate(np.where(sell[mine], -1, np.arange(len(mine))))
            known = bought >= 0
            of_buy = np.maximum(1, lots[mine][bought] * share[mine] // 100)
            lots[mine] = np.where(sell[mine] & known, of_buy, lots[mine])
        return sell, lots

    # --- fills ------------------------------------------------------------------------------------------
    def _fill(
        self,
        symbol: Ints,
        minute: Ints,
        kind: Ints,
        status: Ints,
        filled: NDArray[np.bool_],
        sell: NDArray[np.bool_],
        lots: Ints,
        market: _Minutes,
    ) -> Drawn:
        most = max(1, round(2 * self.sizes.fills_per_order - 1))
        pieces = np.where(filled, np.minimum(1 + self.bits("pieces") % most, lots), 0)
        owner = np.repeat(np.arange(len(lots)), pieces)
        first = np.cumsum(pieces) - pieces
        nth = np.arange(len(owner)) - first[owner]
        sizes = self._split(lots, pieces, owner, nth)
        # Of an order that did not fill wholly, the first half did, and never all of it.
        partial = (status != FILLED)[owner]
        kept = (sizes > 0) & (~partial | ((nth + 1) * 2 <= pieces[owner]))
        owner, nth, sizes = owner[kept], nth[kept], sizes[kept]

        taking = (kind <= QUOTE)[owner] | ((kind == LIMIT)[owner] & (nth * 2 < pieces[owner]))
        climbed = np.where(kind[owner] == LIMIT, np.minimum(nth, (pieces[owner] + 1) // 2 - 1), nth)
        climbed = np.where(kind[owner] == MAKER, 0, climbed)
        opening, low, high = (column[owner, 0] for column in (market.ticks, market.low, market.high))
        ticks = np.where(sell[owner], np.maximum(opening - climbed, low), np.minimum(opening + climbed, high))
        # A resting order fills on in the next minutes, where the market still traded at its price.
        later = np.where((kind == MAKER)[owner], nth * 3 // np.maximum(pieces[owner], 1), 0)
        there = (market.low[owner, later] <= ticks) & (ticks <= market.high[owner, later])
        later = np.where(there & market.has[owner, later], later, 0)
        start = np.minimum(market.at[owner, later], (minute[owner] + later) * MINUTE_MS + 55_000)
        gap = 1 + self.bits("gap")[owner] % 39
        at = start + np.minimum(nth * gap, 4_900)
        limit = self._limits(symbol, kind, sell, market, owner, ticks)
        created, updated = self._times(kind, status, minute, owner, at)
        return Drawn(
            symbol, sell, kind, status, created, updated, lots, limit, owner, at, ticks, sizes, ~taking
        )

    def _split(self, lots: Ints, pieces: Ints, owner: Ints, nth: Ints) -> Ints:
        """Each order's lots in unequal pieces that sum to it."""
        weight = 20 + (draw_at(key_of(*self._key, "weight"), owner * 128 + nth) >> np.uint64(58)).astype(
            np.int64
        )
        total = np.cumsum(weight)
        first = np.cumsum(pieces) - pieces
        begin = (total - weight)[np.minimum(first, max(0, len(total) - 1))] if len(total) else first
        whole = np.zeros(len(lots), dtype=np.int64)
        np.add.at(whole, owner, weight)
        upto = total - begin[owner]
        share = upto.astype(np.float64) / whole[owner]
        cut = np.where(upto == whole[owner], lots[owner], (lots[owner] * share).astype(np.int64))
        before = np.where(nth == 0, 0, np.concatenate(([0], cut[:-1])) if len(cut) else cut)
        return np.asarray(cut - before, dtype=np.int64)

    def _rough_ticks(self, symbol: Ints) -> Ints:
        """Where a thin market had no trade: about what the symbol costs."""
        plans = [item.plan for item in self.listings]
        return np.array([int(plan.price * 10.0**plan.price_decimals) for plan in plans], dtype=np.int64)[
            symbol
        ]

    def _limits(
        self,
        symbol: Ints,
        kind: Ints,
        sell: NDArray[np.bool_],
        market: _Minutes,
        owner: Ints,
        ticks: Ints,
    ) -> Ints:
        """The worst price of its fills; for an order without any, a price a tenth away."""
        opening = np.where(market.ticks[:, 0] > 0, market.ticks[:, 0], self._rough_ticks(symbol))
        limit = np.where(sell, opening + opening // 10 + 1, np.maximum(1, opening - opening // 10))
        worst = np.where(sell, 2**62, 0)
        np.minimum.at(worst, owner[sell[owner]], ticks[sell[owner]])
        np.maximum.at(worst, owner[~sell[owner]], ticks[~sell[owner]])
        some = np.bincount(owner, minlength=len(sell)) > 0
        return np.where(kind <= QUOTE, 0, np.where(some, worst, limit)).astype(np.int64)

    def _times(self, kind: Ints, status: Ints, minute: Ints, owner: Ints, at: Ints) -> tuple[Ints, Ints]:
        some = np.bincount(owner, minlength=len(kind)) > 0
        first = np.full(len(kind), 2**62, dtype=np.int64)
        last = np.zeros(len(kind), dtype=np.int64)
        np.minimum.at(first, owner, at)
        np.maximum.at(last, owner, at)
        first = np.where(some, first, minute * MINUTE_MS + self.bits("moment") % MINUTE_MS)
        wait = np.where(kind == MAKER, 5_000 + self.bits("wait") % 2_700_000, 30 + self.bits("wait") % 90)
        created = first - wait
        end = self.venue.clock.origin_ms
        cancelled = np.minimum(np.where(some, last, created) + 60_000 + self.bits("patience") % _DAY_MS, end)
        updated = np.where(status == CANCELLED, cancelled, np.where(some, last, created))
        return created, updated
