"""What positions cost: lots bought, first in first out or at their average, and what was earned on them.

A book is one asset bought and sold for one quote currency: costs in different currencies are never added, so
a sale in USDT uses up lots that were bought in USDT only. What was sold beyond them is told as sold without
known cost. Coins that came or went without a fill (transfers, rewards) show as the difference between the
balance and what the fills explain; their cost is unknown and never guessed. Every unit of a balance is in
exactly one position.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.trades import Balance, Fill, Side

__all__ = ["Book", "CostMethod", "HeldAs", "Ledger", "Position", "PositionSum", "positions_of", "sums_of"]

ZERO = Decimal(0)
_STEP = Decimal("1e-18")
"""A share of a lot's cost is cut here, in quote currency; what is cut stays with the rest of the lot."""


class CostMethod(StrEnum):
    FIFO = "fifo"
    AVERAGE = "average"


@dataclass(slots=True)
class _Lot:
    size: Decimal
    cost: Decimal


class Book:
    """One asset in one quote currency. `cost`, `realised` and `fees` are in quote, sizes in base.

    `cost` of what is held includes the fees paid for buying it; `realised` is net of all known fees.
    """

    def __init__(self, base: str, quote: str, method: CostMethod) -> None:
        self.base, self.quote, self.method = base, quote, method
        self._lots: deque[_Lot] = deque()
        self.size = self.cost = self.realised = self.fees = ZERO
        self.bought = self.sold = ZERO
        self.sold_without_cost = self.proceeds_without_cost = ZERO
        """Sold beyond the lots: the coins came from elsewhere, so nothing is known of the profit."""
        self.unconverted_fees = 0
        """Fills whose fee is in neither cost nor profit: charged in an asset without a known price."""

    def apply(self, fill: Fill, fee_quote: Decimal | None) -> None:
        """The next fill in time. `fee_quote`: its fee in quote currency, None where that is not known."""
        with exact():
            in_base = fill.fee if fill.fee_currency == self.base else ZERO
            fee = ZERO if in_base else fee_quote
            if fee is None:
                self.unconverted_fees += 1
                fee = ZERO
            self.fees += fee_quote or ZERO
            if fill.side is Side.BUY:
                self._buy(fill.size - in_base, fill.value + fee)
            else:
                self._sell(fill.size + in_base, fill.value - fee)

    def _buy(self, size: Decimal, cost: Decimal) -> None:
        self.bought += size
        self.size += size
        self.cost += cost
        if self.method is CostMethod.AVERAGE and self._lots:
            self._lots[0].size += size
            self._lots[0].cost += cost
        else:
            self._lots.append(_Lot(size, cost))

    def _sell(self, size: Decimal, proceeds: Decimal) -> None:
        self.sold += size
        known = min(size, self.size)
        with_cost = _share(proceeds, known, size)
        self.realised += with_cost - self._take(known)
        self.sold_without_cost += size - known
        self.proceeds_without_cost += proceeds - with_cost

    def _take(self, size: Decimal) -> Decimal:
        """Cost of the next `size` that leaves; at most what is held."""
        left, taken = size, ZERO
        while left > 0 and self._lots:
            lot = self._lots[0]
            if lot.size <= left:
                self._lots.popleft()
                left -= lot.size
                taken += lot.cost
                continue
            part = _share(lot.cost, left, lot.size)
            lot.size -= left
            lot.cost -= part
            taken += part
            left = ZERO
        self.size -= size
        self.cost -= taken
        return taken

    def cost_of_newest(self, size: Decimal) -> Decimal:
        """Cost of `size` of what is held, had the rest left first (FIFO) or at the average."""
        with exact():
            gone, cost = max(self.size - size, ZERO), self.cost
            for lot in self._lots:
                if gone <= 0:
                    break
                used = min(lot.size, gone)
                cost -= lot.cost if used == lot.size else _share(lot.cost, used, lot.size)
                gone -= used
            return cost


def _share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    if part == whole:
        return amount
    return (amount * part / whole).quantize(_STEP, ROUND_HALF_EVEN)


class Ledger:
    """Books of an account, and how much of each asset its fills explain. Fills go in by time."""

    def __init__(self, method: CostMethod) -> None:
        self.method = method
        self.books: dict[tuple[str, str], Book] = {}
        self.explained: dict[str, Decimal] = defaultdict(Decimal)
        """Asset -> net amount that fills brought: as base, as quote paid or earned, as fees."""
        self.fills = 0

    def apply(self, fill: Fill, fee_quote: Decimal | None) -> None:
        key = fill.base, fill.quote
        book = self.books.get(key)
        if book is None:
            book = self.books[key] = Book(*key, self.method)
        book.apply(fill, fee_quote)
        self.fills += 1
        sign = 1 if fill.side is Side.BUY else -1
        with exact():
            self.explained[fill.base] += sign * fill.size
            self.explained[fill.quote] -= sign * fill.value
            self.explained[fill.fee_currency] -= fill.fee


class HeldAs(StrEnum):
    BOUGHT = "bought"
    """What the fills explain: its cost is known."""
    OTHER = "other"
    """What of a balance no fill explains: its cost is unknown."""
    CASH = "cash"
    """Money: it has no cost in itself."""


@dataclass(frozen=True, slots=True)
class Position:
    """A book, or what of a balance is in none. Amounts in `quote`, sizes in `base`; `price` is per unit.

    `quote` is '' for cash, and for what has no market. `cost` is None where it is not known. `balance` is all
    that is held of the asset, and `other` its whole difference to the fills: above 0 it came in without a
    fill (its cost is unknown), below 0 it went out. Both are None where the balances were never read.
    """

    base: str
    quote: str
    size: Decimal
    cost: Decimal | None
    realised: Decimal
    fees: Decimal
    balance: Decimal | None
    other: Decimal | None
    sold_without_cost: Decimal
    unconverted_fees: int
    price: Decimal | None = None
    held_as: HeldAs = HeldAs.BOUGHT

    @property
    def average_cost(self) -> Decimal | None:
        with exact():
            return self.cost / self.size if self.size and self.cost is not None else None

    @property
    def value(self) -> Decimal | None:
        with exact():
            return None if self.price is None else self.size * self.price

    @property
    def unrealised(self) -> Decimal | None:
        with exact():
            return None if self.value is None or self.cost is None else self.value - self.cost

    @property
    def transferred(self) -> str:
        """'in', 'out', or '' where the fills explain the balance, or it was never read."""
        return "" if not self.other else "in" if self.other > 0 else "out"


@dataclass(frozen=True, slots=True)
class PositionSum:
    """Positions in one currency, together; `value` and `unrealised` lack the `unpriced` ones.

    `value` holds `without_cost`, the value of what has no known cost; `unrealised` does not.
    """

    quote: str
    cost: Decimal
    value: Decimal
    without_cost: Decimal
    unrealised: Decimal
    realised: Decimal
    fees: Decimal
    unpriced: int


def sums_of(positions: Iterable[Position]) -> list[PositionSum]:
    """One per currency, the highest cost first; amounts of different currencies are never added (F2b)."""
    by_quote: dict[str, list[Position]] = {}
    for one in positions:
        if one.quote:
            by_quote.setdefault(one.quote, []).append(one)
    with exact():
        found = [
            PositionSum(
                quote,
                sum((one.cost or ZERO for one in held), ZERO),
                sum((one.value or ZERO for one in held), ZERO),
                sum((one.value or ZERO for one in held if one.cost is None), ZERO),
                sum((one.unrealised or ZERO for one in held), ZERO),
                sum((one.realised for one in held), ZERO),
                sum((one.fees for one in held), ZERO),
                sum(1 for one in held if one.size and one.price is None),
            )
            for quote, held in by_quote.items()
        ]
    return sorted(found, key=lambda one: one.cost, reverse=True)


def positions_of(
    ledger: Ledger,
    balances: Iterable[Balance] | None,
    prices: Mapping[tuple[str, str], Decimal],
    main_quotes: Mapping[str, str],
    cash: Container[str],
) -> list[Position]:
    """All books, then what of the balances is in none of them; each by asset and quote.

    `balances` is None where they were never read: what the fills explain is then taken to be there.
    `main_quotes`: the currency in which an asset is priced that was not bought in one.
    """
    held = None if balances is None else {one.currency: one.available + one.hold for one in balances}
    booked: dict[str, Decimal] = defaultdict(Decimal)
    with exact():
        for (base, _), book in ledger.books.items():
            booked[base] += book.size
    found = [_of_book(ledger, book, held, booked, prices) for _, book in sorted(ledger.books.items())]
    return found if held is None else [*found, *_unbooked(ledger, held, booked, prices, main_quotes, cash)]


def _of_book(
    ledger: Ledger,
    book: Book,
    held: Mapping[str, Decimal] | None,
    booked: Mapping[str, Decimal],
    prices: Mapping[tuple[str, str], Decimal],
) -> Position:
    balance, other, size = None, None, book.size
    if held is not None:
        balance, all_books = held.get(book.base, ZERO), booked[book.base]
        with exact():
            other = balance - ledger.explained[book.base]
            # Where less is there than was bought, what is left is shared by what the books hold.
            size = book.size if balance >= all_books else _share(balance, book.size, all_books)
    return Position(
        book.base, book.quote, size, book.cost_of_newest(size), book.realised, book.fees, balance, other,
        book.sold_without_cost, book.unconverted_fees, prices.get((book.base, book.quote)),
    )  # fmt: skip


def _unbooked(
    ledger: Ledger,
    held: Mapping[str, Decimal],
    booked: Mapping[str, Decimal],
    prices: Mapping[tuple[str, str], Decimal],
    main_quotes: Mapping[str, str],
    cash: Container[str],
) -> Iterator[Position]:
    """What of each balance is more than its books hold."""
    for currency, balance in sorted(held.items()):
        with exact():
            size = balance - booked.get(currency, ZERO)
            other = balance - ledger.explained.get(currency, ZERO)
        if size <= 0:
            continue
        held_as = HeldAs.CASH if currency in cash else HeldAs.OTHER
        quote = "" if held_as is HeldAs.CASH else main_quotes.get(currency, "")
        price = prices.get((currency, quote))
        yield Position(currency, quote, size, None, ZERO, ZERO, balance, other, ZERO, 0, price, held_as)
