"""What trading cost: by symbol, by side and by month, exact to the last digit.

The fills are first gathered into cells (by the database, a million of them in a second; by `cells_of` in
memory), one per quote currency, symbol, side and month. Every table of the report is a sum of the same cells,
so that its groupings cannot disagree. Nothing is rounded here, and amounts of different quote currencies are
never added (F2b): every table has its lines and totals per quote currency.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.trades import FeeTier, Fill, Liquidity, Side

__all__ = [
    "FeeCell",
    "FeeLine",
    "FeeReport",
    "MonthBy",
    "ReportFacts",
    "UnconvertedFee",
    "cells_of",
    "fee_report",
    "month_of",
]

ZERO = Decimal(0)


class MonthBy(StrEnum):
    """Which time puts a fill into its month, and into the range asked for."""

    FILLED = "filled"
    CREATED = "created"
    """The creation of its order: the first version's way."""


@dataclass(frozen=True, slots=True)
class FeeCell:
    """Fills of one symbol and side in one month (UTC, 'YYYY-MM'; '' where the order's creation is unknown).

    `volume` and the fees are in `quote`. `fees` lacks the fees of `unconverted` fills, which were charged in
    an asset that has no known price in `quote`. `orders` counts the orders with a fill in this month, and
    `orders_begun` those whose first fill of the report is in it, so that it may be added over months.
    """

    quote: str
    symbol: str
    side: Side
    month: str
    fills: int
    orders: int
    orders_begun: int
    volume: Decimal
    fees: Decimal
    maker_volume: Decimal
    maker_fees: Decimal
    taker_volume: Decimal
    taker_fees: Decimal
    unconverted: int = 0


@dataclass(frozen=True, slots=True)
class FeeLine:
    """A line of a table, or its total: amounts in `quote`. What it is not grouped by is None."""

    quote: str
    symbol: str | None
    side: Side | None
    month: str | None
    orders: int
    fills: int
    volume: Decimal
    fees: Decimal
    maker_volume: Decimal
    maker_fees: Decimal
    taker_volume: Decimal
    taker_fees: Decimal
    unconverted: int

    @property
    def rate(self) -> Decimal | None:
        """Effective rate as a fraction: fees / filled value. None without value."""
        return _rate(self.fees, self.volume)

    @property
    def maker_rate(self) -> Decimal | None:
        return _rate(self.maker_fees, self.maker_volume)

    @property
    def taker_rate(self) -> Decimal | None:
        return _rate(self.taker_fees, self.taker_volume)

    @property
    def average_fee(self) -> Decimal | None:
        """Fee per trade, in quote. A trade is an order, however many fills it took."""
        with exact():
            return self.fees / self.orders if self.orders else None


def _rate(fees: Decimal, volume: Decimal) -> Decimal | None:
    with exact():
        return fees / volume if volume else None


@dataclass(frozen=True, slots=True)
class UnconvertedFee:
    """Fees charged in an asset without a known price then; they are in no sum of the report."""

    currency: str
    amount: Decimal
    fills: int


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What stands above the tables. Times are epoch ms, UTC; first and last are those of the fills in it."""

    exchange: str
    account: str
    generated_ms: int
    month_by: MonthBy = MonthBy.FILLED
    since_ms: int | None = None
    until_ms: int | None = None
    symbol: str | None = None
    first_ms: int | None = None
    last_ms: int | None = None
    tier: FeeTier | None = None
    complete: bool = True
    """The account's history was read to its end."""
    aside: Mapping[str, int] = field(default_factory=dict)
    """Entries of the exchange's list that are no plain fills, by its word for them; they are in no sum."""


@dataclass(frozen=True, slots=True)
class FeeReport:
    """The three tables of F3 to F5 and their totals. Symbols and sides: by fees, highest first."""

    facts: ReportFacts
    by_symbol: Sequence[FeeLine]
    by_side: Sequence[FeeLine]
    by_month: Sequence[FeeLine]
    totals: Sequence[FeeLine]
    """One per quote currency, the largest volume first."""
    unconverted: Sequence[UnconvertedFee] = ()
    in_currency: FeeLine | None = None
    """All in one currency, where the rates were stated."""
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    """Price of one unit of each quote currency in that one."""

    @property
    def orders(self) -> int:
        return sum(line.orders for line in self.totals)

    @property
    def fills(self) -> int:
        return sum(line.fills for line in self.totals)


def month_of(at_ms: int) -> str:
    """'2026-03' for any time (epoch ms) in that month, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m")


def cells_of(
    fills: Iterable[Fill],
    fee_in_quote: Callable[[Fill], Decimal | None],
    time_of: Callable[[Fill], int | None] = lambda fill: fill.filled_ms,
) -> list[FeeCell]:
    """The cells of fills in any order, each fill once. `time_of` decides the month; None puts it under ''."""
    cells: dict[tuple[str, str, Side, str], _Sums] = defaultdict(_Sums)
    begun: dict[tuple[str, str], str] = {}
    for fill in fills:
        at = time_of(fill)
        month = "" if at is None else month_of(at)
        cells[fill.quote, fill.symbol, fill.side, month].add(fill, fee_in_quote(fill))
        order = (fill.symbol, fill.order_id)
        begun[order] = min(begun.get(order, month), month)
    return [
        sums.cell(key, sum(begun[key[1], order] == key[3] for order in sums.orders))
        for key, sums in sorted(cells.items())
    ]


class _Sums:
    """What is gathered of one cell."""

    def __init__(self) -> None:
        self.fills = self.unconverted = 0
        self.orders: set[str] = set()
        self.volume: dict[Liquidity, Decimal] = defaultdict(Decimal)
        self.fees: dict[Liquidity, Decimal] = defaultdict(Decimal)

    def add(self, fill: Fill, fee: Decimal | None) -> None:
        self.fills += 1
        self.orders.add(fill.order_id)
        with exact():
            self.volume[fill.liquidity] += fill.value
            if fee is None:
                self.unconverted += 1
            else:
                self.fees[fill.liquidity] += fee

    def cell(self, key: tuple[str, str, Side, str], orders_begun: int) -> FeeCell:
        with exact():
            volume, fees = sum(self.volume.values(), ZERO), sum(self.fees.values(), ZERO)
        maker, taker = Liquidity.MAKER, Liquidity.TAKER
        return FeeCell(
            *key, self.fills, len(self.orders), orders_begun, volume, fees, self.volume[maker],
            self.fees[maker], self.volume[taker], self.fees[taker], self.unconverted,
        )  # fmt: skip


def fee_report(
    cells: Iterable[FeeCell],
    facts: ReportFacts,
    unconverted: Sequence[UnconvertedFee] = (),
    *,
    currency: str | None = None,
    rates: Mapping[str, Decimal] | None = None,
) -> FeeReport:
    """Every table from the same cells. With `currency`, a grand total at `rates` too.

    Raises KeyError where `rates` lacks a quote currency that occurs: a rate is never taken to be 1.
    """
    held = list(cells)
    totals = _sum(held, lambda cell: (cell.quote, None, None, None))
    totals.sort(key=lambda line: (-line.volume, line.quote))
    rank = {line.quote: place for place, line in enumerate(totals)}

    def by_fees(line: FeeLine) -> tuple[int, Decimal, str, str]:
        return rank[line.quote], -line.fees, line.symbol or "", line.side or ""

    used = {currency: Decimal(1), **(rates or {})} if currency is not None else {}
    return FeeReport(
        facts,
        sorted(_sum(held, lambda cell: (cell.quote, cell.symbol, None, None)), key=by_fees),
        sorted(_sum(held, lambda cell: (cell.quote, cell.symbol, cell.side, None)), key=by_fees),
        sorted(
            _sum(held, lambda cell: (cell.quote, None, None, cell.month), by_month=True),
            key=lambda line: (rank[line.quote], line.month or ""),
        ),
        totals,
        unconverted,
        None if currency is None else _converted(totals, currency, used),
        {quote: used[quote] for quote in rank if quote != currency} if currency is not None else {},
    )


_Key = tuple[str, str | None, Side | None, str | None]


def _sum(
    cells: Iterable[FeeCell], key: Callable[[FeeCell], _Key], *, by_month: bool = False
) -> list[FeeLine]:
    groups: dict[_Key, list[FeeCell]] = defaultdict(list)
    for cell in cells:
        groups[key(cell)].append(cell)
    with exact():
        return [
            FeeLine(
                *names,
                sum(one.orders if by_month else one.orders_begun for one in group),
                sum(one.fills for one in group),
                sum((one.volume for one in group), ZERO),
                sum((one.fees for one in group), ZERO),
                sum((one.maker_volume for one in group), ZERO),
                sum((one.maker_fees for one in group), ZERO),
                sum((one.taker_volume for one in group), ZERO),
                sum((one.taker_fees for one in group), ZERO),
                sum(one.unconverted for one in group),
            )
            for names, group in groups.items()
        ]


def _converted(totals: Sequence[FeeLine], currency: str, rates: Mapping[str, Decimal]) -> FeeLine:
    def total(name: str) -> Decimal:
        return sum((getattr(line, name) * rates[line.quote] for line in totals), ZERO)

    with exact():
        return FeeLine(
            currency, None, None, None, sum(line.orders for line in totals),
            sum(line.fills for line in totals), total("volume"), total("fees"), total("maker_volume"),
            total("maker_fees"), total("taker_volume"), total("taker_fees"),
            sum(line.unconverted for line in totals),
        )  # fmt: skip
