"""What an account traded hangs on its seed, name and sizes alone, and every number of it ties out."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livermore_dagster.simulator.accounts.book import CANCELLED, FILLED, MAKER, OPEN, Book
from livermore_dagster.simulator.accounts.draw import Sizes
from livermore_dagster.simulator.accounts.tiers import BNB_DISCOUNT_PERCENT, TIERS, WINDOW_MS
from livermore_dagster.simulator.clock import ManualClock
from livermore_dagster.simulator.market import MINUTE_MS
from livermore_dagster.simulator.universe import EXCHANGES
from livermore_dagster.simulator.venue import Venue

ORIGIN = 1_767_655_800_000  # 2026-01-05T23:30:00Z
SMALL = Sizes(orders=160, symbols=24, days=90, fills_per_order=3.0)


def venue_of(exchange: str, seed: int = 7, symbols: int = 30) -> Venue:
    return Venue(exchange, seed, ManualClock(ORIGIN), fills=exchange != "coinbase", symbols=symbols)


@cache
def book_of(exchange: str, seed: int = 7, sizes: Sizes = SMALL, account: str = "demo") -> Book:
    return Book(venue_of(exchange, seed), account, sizes)


books = st.builds(
    book_of,
    st.sampled_from(EXCHANGES),
    st.integers(1, 4),
    st.builds(
        Sizes,
        orders=st.sampled_from([0, 1, 7, 120]),
        symbols=st.sampled_from([1, 9, 24]),
        days=st.sampled_from([2, 45, 365]),
        fills_per_order=st.sampled_from([1.0, 2.0, 9.5]),
    ),
)


@given(book=books)
@settings(max_examples=15, deadline=None)
def test_an_order_is_the_sum_of_its_fills(book: Book) -> None:
    for index in range(book.order_count):
        order = book.order(index)
        fills = [book.fill(int(fill)) for fill in book.fills_of(index)]
        assert sum((fill.size for fill in fills), Decimal(0)) == order.filled
        assert sum((fill.value for fill in fills), Decimal(0)) == order.value
        assert len(fills) == order.fills
        assert all(fill.value == fill.price * fill.size for fill in fills)
        assert 0 <= order.filled <= order.size
        if order.status == FILLED:
            assert order.filled == order.size
        if fills:
            assert order.created_ms <= min(fill.at_ms for fill in fills)
            worst = (min if order.sell else max)(fill.price for fill in fills)
            assert order.limit in (0, worst)
        if order.fee is not None:
            assert order.fee == sum((fill.fee for fill in fills), Decimal(0))


@given(book=books)
@settings(max_examples=15, deadline=None)
def test_no_balance_is_ever_below_zero_and_all_is_accounted_for(book: Book) -> None:
    bookings = [(one.at_ms, one.currency, one.amount) for one in book.transfers]
    for index in range(book.fill_count):
        fill = book.fill(index)
        sign = -1 if fill.sell else 1
        bookings += [
            (fill.at_ms, fill.listing.base, sign * fill.size),
            (fill.at_ms, fill.listing.quote, -sign * fill.value),
            (fill.at_ms, fill.fee_currency, -fill.fee),
        ]
    held: dict[str, Decimal] = defaultdict(Decimal)
    for _, currency, amount in sorted(bookings, key=lambda booking: (booking[0], -booking[2])):
        held[currency] += amount
        assert held[currency] >= 0, currency
    balances = book.balances()
    assert {name: sum(amounts) for name, amounts in balances.items() if any(amounts)} == {
        name: amount for name, amount in held.items() if amount
    }
    assert all(available >= 0 and hold >= 0 for available, hold in balances.values())


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_fill_is_priced_within_its_candle(exchange: str) -> None:
    book = book_of(exchange)
    for index in range(0, book.fill_count, 3):
        fill = book.fill(index)
        decimals = fill.listing.plan.price_decimals
        for minutes in (1, 5, 60):
            rows = book.venue.rows(
                fill.listing.symbol,
                minutes,
                fill.at_ms - fill.at_ms % (minutes * MINUTE_MS),
                fill.at_ms,
                ORIGIN,
            )
            assert rows[0].trades > 0
            assert rows[0].low <= fill.price.scaleb(decimals) <= rows[0].high


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_rate_is_that_of_the_volume_of_the_thirty_days_before(exchange: str) -> None:
    book = book_of(exchange)
    seen = set()
    at, micro = book.orders.fill_at, book.charges.micro_usd
    for index in range(book.fill_count):
        fill = book.fill(index)
        before = (at < fill.at_ms) & (at >= fill.at_ms - WINDOW_MS)
        volume = Decimal(int(micro[before].sum())).scaleb(-6)
        tier = [tier for tier in TIERS[exchange] if tier.from_usd <= volume][-1]
        if book.special_ppm(fill.listing.symbol) is None:
            seen.add(tier.name)
            ppm = tier.maker_ppm if fill.maker else tier.taker_ppm
            assert fill.rate == Decimal(ppm).scaleb(-6)
    assert len(seen) >= (1 if exchange == "binance" else 4)


def test_coinbase_charges_the_exact_share_of_the_value_in_quote() -> None:
    book = book_of("coinbase", sizes=Sizes(orders=900))
    fills = [book.fill(index) for index in range(book.fill_count)]
    assert all(fill.fee == fill.value * fill.rate for fill in fills)
    assert all(fill.fee_currency == fill.listing.quote for fill in fills)
    assert any(fill.fee < 0 for fill in fills), "a rebate"
    assert {fill.listing.quote for fill in fills} >= {"USD", "USDC"}
    assert any(fill.listing.alias_of for fill in fills)
    assert any(fill.size_in_quote for fill in fills)


@pytest.mark.parametrize("exchange", ["binance", "binance_us"])
def test_binance_charges_what_is_received_or_bnb(exchange: str) -> None:
    book = book_of(exchange)
    due = Decimal(100 - BNB_DISCOUNT_PERCENT[exchange]) / 100
    kinds = set()
    for index in range(book.fill_count):
        fill = book.fill(index)
        received = fill.listing.quote if fill.sell else fill.listing.base
        if received == "BNB":
            continue
        if fill.fee_currency == "BNB":
            kinds.add("bnb")
            minute = fill.at_ms - fill.at_ms % MINUTE_MS
            bar = book.venue.rows("BNBUSDT", 1, minute, minute + 1, ORIGIN)[0]
            usd = Decimal(int(book.charges.micro_usd[index])).scaleb(-6) * fill.rate * due
            low, high = (Decimal(price).scaleb(-2) for price in (bar.low, bar.high))
            assert usd / high - Decimal("1e-8") <= fill.fee <= usd / low
        else:
            assert fill.fee_currency == received
            kinds.add("quote" if fill.sell else "base")
            amount = fill.value if fill.sell else fill.size
            assert 0 <= amount * fill.rate - fill.fee < Decimal("1e-8")
    assert kinds == {"bnb", "base", "quote"}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_orders_of_every_fate(exchange: str) -> None:
    book = book_of(exchange)
    rows = [book.order(index) for index in range(book.order_count)]
    assert {row.status for row in rows} == {FILLED, CANCELLED, OPEN}
    assert {bool(row.fills) for row in rows if row.status == CANCELLED} == {True, False}
    assert any(row.fills > 1 for row in rows)
    assert {row.kind for row in rows} == {0, 1, MAKER, 3}
    assert len({row.listing.symbol for row in rows}) == SMALL.symbols
    assert max(row.created_ms for row in rows) <= ORIGIN
    assert min(row.created_ms for row in rows) >= ORIGIN - (SMALL.days + 1) * 86_400_000


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_numbers_rise_within_a_symbol(exchange: str) -> None:
    book = book_of(exchange)
    for item in book.listings:
        orders, fills = book.of_symbol(item.symbol)
        for numbers in (book.order_numbers(orders), book.fill_numbers(fills)):
            assert all(a < b for a, b in pairwise(numbers.tolist()))
        assert (np.diff(book.orders.fill_at[fills]) >= 0).all()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_same_seed_gives_the_same_history_and_another_another(exchange: str) -> None:
    def rows(seed: int, account: str) -> list[object]:
        book = Book(venue_of(exchange, seed), account, SMALL)
        return [book.order(i) for i in range(0, book.order_count, 4)] + [
            book.fill(i) for i in range(book.fill_count)
        ]

    assert rows(7, "demo") == rows(7, "demo")
    assert rows(7, "demo") != rows(8, "demo")
    assert rows(7, "demo") != rows(7, "other")


def test_sixteen_hundred_orders_over_140_symbols() -> None:
    book = Book(venue_of("coinbase", symbols=140), "big", Sizes(orders=1622, symbols=140))
    assert book.order_count == 1622
    assert len({book.order(index).listing.symbol for index in range(1622)}) == 140
    volume = Decimal(int(book.charges.micro_usd.sum())).scaleb(-6)
    assert 4_000_000 < volume < 16_000_000
