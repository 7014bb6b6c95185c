"""One account's books: its drawn history and what happened since, read as rows in exact decimals."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from livermore_dagster.simulator.accounts.draw import (
    CANCELLED,
    FILLED,
    LIMIT,
    MAKER,
    MARKET,
    OPEN,
    QUOTE,
    Ints,
    Sizes,
)
from livermore_dagster.simulator.accounts.history import Pricing, Transfer, draw_history, fee_places
from livermore_dagster.simulator.accounts.tiers import TIERS, WINDOW_MS, Tier
from livermore_dagster.simulator.universe import Listing
from livermore_dagster.simulator.venue import Venue

__all__ = ["CANCELLED", "FILLED", "LIMIT", "MAKER", "MARKET", "OPEN", "QUOTE"]
__all__ += ["Book", "CannotTrade", "FillRow", "OrderRow"]

_DEFAULT_USD = 150.0
_ORDER_COLUMNS = ("symbol", "sell", "kind", "status", "created", "updated", "lots", "limit")
_FILL_COLUMNS = ("fill_order", "fill_at", "fill_ticks", "fill_lots", "fill_maker")


class CannotTrade(ValueError):
    """A live fill that cannot be; the text says why."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order as it stands. `fee` is the sum of its fills' where all are in quote, else None."""

    index: int
    number: int
    """Rises with creation within a symbol."""
    listing: Listing
    sell: bool
    kind: int
    status: int
    created_ms: int
    updated_ms: int
    size: Decimal
    limit: Decimal
    filled: Decimal
    value: Decimal
    fee: Decimal | None
    fills: int

    @property
    def side(self) -> str:
        return "SELL" if self.sell else "BUY"


@dataclass(frozen=True, slots=True)
class FillRow:
    """One execution. `rate` is the tier's, before any discount; below 0 for a rebate, as the fee then."""

    index: int
    number: int
    """Rises with time within a symbol."""
    order: int
    listing: Listing
    sell: bool
    at_ms: int
    price: Decimal
    size: Decimal
    value: Decimal
    fee: Decimal
    fee_currency: str
    maker: bool
    rate: Decimal
    size_in_quote: bool

    @property
    def side(self) -> str:
        return "SELL" if self.sell else "BUY"


class Book:
    """Everything an account's endpoints read; `place` adds a trade now."""

    def __init__(self, venue: Venue, account: str, sizes: Sizes) -> None:
        self.venue = venue
        history = draw_history(venue, account, sizes)
        self.listings, self.assets = history.listings, history.assets
        self.transfers: list[Transfer] = history.transfers
        self.orders, self.charges = history.orders, history.charges
        self._pricing = Pricing(venue, account)
        count = len(self.orders.symbol)
        self._filled, self._value, self._fee = (np.zeros(count, dtype=np.int64) for _ in range(3))
        self._fills = np.bincount(self.orders.fill_order, minlength=count).astype(np.int64)
        np.add.at(self._filled, self.orders.fill_order, self.orders.fill_lots)
        np.add.at(self._value, self.orders.fill_order, self.orders.fill_ticks * self.orders.fill_lots)
        np.add.at(self._fee, self.orders.fill_order, self.charges.fee)
        self._order_numbers = _numbers(self.orders.symbol)
        self._fill_numbers = _numbers(self.orders.symbol[self.orders.fill_order])
        self.trade_types: dict[int, str] = {}
        """What the exchange calls a fill that is no plain one, by its index (Coinbase)."""
        self._by_symbol: dict[str, tuple[Ints, Ints]] = {}
        self._totals = self._booked()

    # --- rows -------------------------------------------------------------------------------------------
    @property
    def order_count(self) -> int:
        return len(self.orders.symbol)

    @property
    def fill_count(self) -> int:
        return len(self.orders.fill_at)

    def of_symbol(self, symbol: str) -> tuple[Ints, Ints]:
        """Indexes of a product's orders and fills, oldest first; empty for one never traded."""
        found = self._by_symbol.get(symbol)
        if found is None:
            wanted = [index for index, item in enumerate(self.listings) if item.symbol == symbol]
            code = wanted[0] if wanted else -1
            mine = self.orders.symbol == code
            found = np.flatnonzero(mine), np.flatnonzero(mine[self.orders.fill_order])
            self._by_symbol[symbol] = found
        return found

    def order_number(self, order: int) -> int:
        return int(self._order_numbers[order])

    def order_numbers(self, indexes: Ints) -> Ints:
        return self._order_numbers[indexes]

    def fill_numbers(self, indexes: Ints) -> Ints:
        return self._fill_numbers[indexes]

    def fills_of(self, order: int) -> Ints:
        return np.flatnonzero(self.orders.fill_order == order)

    def order(self, index: int) -> OrderRow:
        orders = self.orders
        listing = self.listings[int(orders.symbol[index])]
        ticks, lots = listing.plan.price_decimals, listing.plan.lot_decimals
        in_quote = self.venue.name == "coinbase"
        return OrderRow(
            index=index,
            number=int(self._order_numbers[index]),
            listing=listing,
            sell=bool(orders.sell[index]),
            kind=int(orders.kind[index]),
            status=int(orders.status[index]),
            created_ms=int(orders.created[index]),
            updated_ms=int(orders.updated[index]),
            size=_exact(orders.lots[index], lots),
            limit=_exact(orders.limit[index], ticks),
            filled=_exact(self._filled[index], lots),
            value=_exact(self._value[index], ticks + lots),
            fee=_exact(self._fee[index], fee_places(self.venue, listing)) if in_quote else None,
            fills=int(self._fills[index]),
        )

    def fill(self, index: int) -> FillRow:
        orders, charges = self.orders, self.charges
        owner = int(orders.fill_order[index])
        listing = self.listings[int(orders.symbol[owner])]
        ticks, lots = listing.plan.price_decimals, listing.plan.lot_decimals
        value = int(orders.fill_ticks[index]) * int(orders.fill_lots[index])
        return FillRow(
            index=index,
            number=int(self._fill_numbers[index]),
            order=owner,
            listing=listing,
            sell=bool(orders.sell[owner]),
            at_ms=int(orders.fill_at[index]),
            price=_exact(orders.fill_ticks[index], ticks),
            size=_exact(orders.fill_lots[index], lots),
            value=_exact(value, ticks + lots),
            fee=_exact(charges.fee[index], fee_places(self.venue, listing)),
            fee_currency=self.assets[int(charges.asset[index])],
            maker=bool(orders.fill_maker[index]),
            rate=_exact(charges.ppm[index], 6),
            size_in_quote=int(orders.kind[owner]) == QUOTE and not orders.sell[owner],
        )

    # --- sums -------------------------------------------------------------------------------------------
    def month(self, now_ms: int) -> tuple[Decimal, Decimal]:
        """Volume and fees in USD of the 30 days up to now; fees at the rates of the trades, in USD."""
        first = int(np.searchsorted(self.orders.fill_at, now_ms - WINDOW_MS))
        micro, ppm = self.charges.micro_usd[first:], self.charges.ppm[first:]
        return _exact(int(micro.sum()), 6), _exact(int((micro * ppm // 10**6).sum()), 6)

    def tier(self, now_ms: int) -> Tier:
        volume, _ = self.month(now_ms)
        return [tier for tier in TIERS[self.venue.name] if tier.from_usd <= volume][-1]

    def special_ppm(self, symbol: str) -> tuple[int, int] | None:
        """(maker, taker) of a product outside the tiers."""
        return self._pricing.special_ppm(self.venue.listings[symbol])

    def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        """(available, held) of every currency ever booked; open orders hold what they may need."""
        holds: dict[str, Decimal] = defaultdict(Decimal)
        for index in np.flatnonzero(self.orders.status == OPEN).tolist():
            order = self.order(index)
            left = order.size - order.filled
            currency = order.listing.base if order.sell else order.listing.quote
            holds[currency] += left if order.sell else left * order.limit
        return {
            currency: (self._totals[currency] - holds[currency], holds[currency])
            for currency in sorted(self._totals)
        }

    def _booked(self) -> dict[str, Decimal]:
        """Total of each currency: transfers, trades and fees."""
        totals: dict[str, Decimal] = defaultdict(Decimal)
        for transfer in self.transfers:
            totals[transfer.currency] += transfer.amount
        orders, charges = self.orders, self.charges
        for item in self.listings:
            _, mine = self.of_symbol(item.symbol)
            ticks, lots = item.plan.price_decimals, item.plan.lot_decimals
            sign = np.where(orders.sell[orders.fill_order[mine]], -1, 1)
            size = orders.fill_lots[mine] * sign
            totals[item.base] += _exact(_sum(size), lots)
            totals[item.quote] -= _exact(_sum(size * orders.fill_ticks[mine]), ticks + lots)
            places, asset = fee_places(self.venue, item), charges.asset[mine]
            for code in np.unique(asset).tolist():
                totals[self.assets[code]] -= _exact(_sum(charges.fee[mine][asset == code]), places)
        return totals

    # --- what happens now -------------------------------------------------------------------------------
    def place(
        self, symbol: str, *, sell: bool, size: Decimal | None, maker: bool, at_ms: int | None = None
    ) -> tuple[int, int]:
        """A new order, filled at once and wholly at the market's price; indexes of order and fill.

        `at_ms`: when it was, for a trade of an earlier start; otherwise now. Raises CannotTrade.
        """
        now = self.venue.clock.now_ms() if at_ms is None else at_ms
        item = self._tradable(symbol, now, is_past=at_ms is not None)
        bar = self.venue.bar_at(symbol, 1, now)
        if bar is None:
            raise CannotTrade(f"{symbol} has no price yet")
        ticks = bar.close
        lots = self._lots(item, size, ticks)
        code = self._code(item)
        value = np.array([ticks * lots], dtype=np.int64)
        at = np.array([now], dtype=np.int64)
        tier = self.tier(now)
        special = self._pricing.special_ppm(item)
        maker_ppm, taker_ppm = special or (tier.maker_ppm, tier.taker_ppm)
        ppm = np.array([maker_ppm if maker else taker_ppm], dtype=np.int64)
        if self.venue.name == "coinbase":
            fee, currency = value * ppm, item.quote
        else:
            one = np.array([lots], dtype=np.int64)
            fee = self._pricing.received_fee(item, np.array([sell]), one, value, ppm)
            currency = item.quote if sell else item.base
        self._book(item, sell=sell, lots=lots, ticks=ticks, fee=int(fee[0]), currency=currency)
        micro = self._pricing.micro_usd(item, value, at)
        # Columns stay in order of creation, whatever open orders were drawn last.
        created = max(now, int(self.orders.created[-1]) if self.order_count else 0)
        kind, limit = (MAKER, ticks) if maker else (MARKET, 0)
        _append(self.orders, _ORDER_COLUMNS, (code, sell, kind, FILLED, created, now, lots, limit))
        order = self.order_count - 1
        _append(self.orders, _FILL_COLUMNS, (order, now, ticks, lots, maker))
        _append(
            self.charges,
            ("ppm", "fee", "asset", "micro_usd"),
            (int(ppm[0]), int(fee[0]), self.assets.index(currency), int(micro[0])),
        )
        self._filled, self._value = np.append(self._filled, lots), np.append(self._value, ticks * lots)
        self._fee, self._fills = np.append(self._fee, fee), np.append(self._fills, 1)
        self._order_numbers = _numbered(self._order_numbers, self.orders.symbol)
        self._fill_numbers = _numbered(self._fill_numbers, self.orders.symbol[self.orders.fill_order])
        self._by_symbol.pop(symbol, None)
        return order, self.fill_count - 1

    def cancel(self, order: int, at_ms: int | None = None) -> None:
        """The account's holder takes back an open order, now or when it was."""
        self.orders.status[order] = CANCELLED
        self.orders.updated[order] = self.venue.clock.now_ms() if at_ms is None else at_ms

    def open_orders(self) -> list[int]:
        return [int(index) for index in np.flatnonzero(self.orders.status == OPEN)]

    def _tradable(self, symbol: str, now_ms: int, *, is_past: bool) -> Listing:
        item = self.venue.listings.get(symbol)
        if item is None:
            raise CannotTrade(f"unknown symbol {symbol!r}; GET control/symbols lists them")
        if is_past:
            return item
        if not self.venue.is_trading(item) or not self.venue.is_quoted(item, now_ms):
            raise CannotTrade(f"{symbol} does not trade now")
        return item

    def _code(self, item: Listing) -> int:
        for asset in (item.base, item.quote):
            if asset not in self.assets:
                self.assets.append(asset)
        if item not in self.listings:
            self.listings.append(item)
        return self.listings.index(item)

    def _lots(self, item: Listing, size: Decimal | None, ticks: int) -> int:
        scale = item.plan.lot_decimals
        if size is None:
            price = ticks / 10**item.plan.price_decimals * self._pricing.rough_prices([item])[item.quote]
            return max(1, int(_DEFAULT_USD / price * 10**scale))
        lots = size.scaleb(scale)
        if lots != lots.to_integral_value() or not 0 < lots < 10**14:
            raise CannotTrade(
                f"size {size} of {item.symbol} must be above 0 and a multiple of {_exact(1, scale)}"
            )
        return int(lots)

    def _book(self, item: Listing, *, sell: bool, lots: int, ticks: int, fee: int, currency: str) -> None:
        """Books a trade where the account can afford it."""
        size = _exact(lots, item.plan.lot_decimals)
        value = size * _exact(ticks, item.plan.price_decimals)
        change: dict[str, Decimal] = defaultdict(Decimal)
        change[item.base] += -size if sell else size
        change[item.quote] += value if sell else -value
        change[currency] -= _exact(fee, fee_places(self.venue, item))
        balances = self.balances()
        for asset, amount in change.items():
            available = balances.get(asset, (Decimal(0), Decimal(0)))[0]
            if available + amount < 0:
                raise CannotTrade(f"insufficient funds: {available} {asset} available, {-amount} needed")
        for asset, amount in change.items():
            self._totals[asset] = self._totals.get(asset, Decimal(0)) + amount


def _exact(units: int | np.int64, places: int) -> Decimal:
    return Decimal(int(units)).scaleb(-places)


def _sum(values: Ints) -> int:
    """In whole numbers of any size."""
    return sum(values.tolist())


def _numbers(symbol: Ints) -> Ints:
    """Ids that rise within each symbol, with the gaps that other people's trades leave."""
    order = np.argsort(symbol, kind="stable")
    first = np.searchsorted(symbol[order], symbol)
    rank = np.empty(len(symbol), dtype=np.int64)
    rank[order] = np.arange(len(symbol))
    rank -= first
    return 10_000 + rank * 7 + rank % 5


def _numbered(numbers: Ints, symbol: Ints) -> Ints:
    """The numbers with that of the newest row, its symbol the last of `symbol`."""
    before = numbers[np.flatnonzero(symbol[:-1] == symbol[-1])]
    rank = len(before)
    return np.append(numbers, 10_000 + rank * 7 + rank % 5)


def _append(columns: object, names: tuple[str, ...], values: tuple[int | bool, ...]) -> None:
    for name, value in zip(names, values, strict=True):
        column: NDArray[np.generic] = getattr(columns, name)
        setattr(columns, name, np.append(column, np.array([value], dtype=column.dtype)))
