"""Cost basis: nothing is lost between lots, first in is first out, and what no fill explains is told."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livermore_dagster.market.cost_basis import Book, CostMethod, HeldAs, Ledger, positions_of, sums_of
from livermore_dagster.market.decimals import exact
from livermore_dagster.market.trades import Balance, Fill, Liquidity, Side
from tests.unit.market.trade_draws import fee_in_quote, fill_lists

ZERO = Decimal(0)


def trade(
    side: Side, size: str, price: str, fee: str = "0", currency: str = "USD", quote: str = "USD"
) -> Fill:
    with exact():
        value = Decimal(size) * Decimal(price)
    return Fill(
        "f", "o", f"BTC-{quote}", "BTC", quote, side, 0, Decimal(price), Decimal(size), value, Decimal(fee),
        currency, Liquidity.TAKER,
    )  # fmt: skip


def booked(method: CostMethod, *fills: Fill) -> Book:
    book = Book("BTC", "USD", method)
    for one in fills:
        book.apply(one, fee_in_quote(one))
    return book


@settings(max_examples=40, deadline=None)
@given(fill_lists(("quote", "base", "BNB")), st.sampled_from(CostMethod))
def test_money_in_is_cost_held_plus_cost_sold(fills: list[Fill], method: CostMethod) -> None:
    ledger = Ledger(method)
    for one in fills:
        ledger.apply(one, fee_in_quote(one))
    for (base, quote), book in ledger.books.items():
        own = [one for one in fills if (one.base, one.quote) == (base, quote)]
        paid = earned = ZERO
        with exact():
            for one in own:
                fee = one.fee if one.fee_currency == quote else ZERO
                if one.side is Side.BUY:
                    paid += one.value + fee
                else:
                    earned += one.value - fee
            # Realised = proceeds with a known cost − that cost: so the books balance to the last digit.
            assert earned - book.proceeds_without_cost - book.realised == paid - book.cost
            assert book.size == book.bought - book.sold + book.sold_without_cost
        assert book.size >= 0
        assert book.cost >= 0 or book.fees < 0
        if book.size == 0:
            assert book.cost == 0


@settings(max_examples=40, deadline=None)
@given(fill_lists(("quote", "base")))
def test_both_methods_hold_and_explain_the_same(fills: list[Fill]) -> None:
    ledgers = [Ledger(method) for method in CostMethod]
    for ledger in ledgers:
        for one in fills:
            ledger.apply(one, fee_in_quote(one))
    first, second = ledgers
    assert first.explained == second.explained
    for key, book in first.books.items():
        other = second.books[key]
        assert (book.size, book.sold_without_cost) == (other.size, other.sold_without_cost)


def test_first_in_first_out() -> None:
    fills = (
        trade(Side.BUY, "1", "100", "1"),
        trade(Side.BUY, "1", "200", "2"),
        trade(Side.SELL, "1.5", "300", "3"),
    )
    book = booked(CostMethod.FIFO, *fills)
    assert book.realised == Decimal(450) - 3 - (101 + 101)
    assert (book.size, book.cost) == (Decimal("0.5"), Decimal(101))
    average = booked(CostMethod.AVERAGE, *fills)
    assert average.realised == Decimal(447) - Decimal("227.25")
    assert average.cost == Decimal("75.75")


def test_a_fee_in_the_asset_itself_is_coins_that_never_came() -> None:
    book = booked(CostMethod.FIFO, trade(Side.BUY, "1", "100", "0.001", "BTC"))
    assert (book.size, book.cost, book.fees) == (Decimal("0.999"), Decimal(100), Decimal("0.1"))


def test_a_fee_in_a_third_asset_is_added_at_its_value_or_told_as_missing() -> None:
    book = Book("BTC", "USD", CostMethod.FIFO)
    book.apply(trade(Side.BUY, "1", "100", "0.01", "BNB"), Decimal(6))
    assert (book.cost, book.unconverted_fees) == (Decimal(106), 0)
    book.apply(trade(Side.BUY, "1", "100", "0.01", "BNB"), None)
    assert (book.cost, book.unconverted_fees) == (Decimal(206), 1)


def test_a_sale_beyond_the_lots_has_no_known_profit() -> None:
    book = booked(CostMethod.FIFO, trade(Side.BUY, "1", "100"), trade(Side.SELL, "3", "200"))
    assert book.realised == 100
    assert (book.sold_without_cost, book.proceeds_without_cost) == (2, 400)


@pytest.mark.parametrize(
    ("balance", "size", "other", "way"),
    [("2", "2", "0", ""), ("2.5", "2", "0.5", "in"), ("0.5", "0.5", "-1.5", "out")],
)
def test_transfers_are_told_apart(balance: str, size: str, other: str, way: str) -> None:
    ledger = Ledger(CostMethod.FIFO)
    for one in (trade(Side.BUY, "1", "100"), trade(Side.BUY, "1", "300")):
        ledger.apply(one, ZERO)
    held, prices = [Balance("BTC", Decimal(balance), ZERO)], {("BTC", "USD"): Decimal(500)}
    position = positions_of(ledger, held, prices, {}, ())[0]
    assert (position.size, position.other, position.transferred) == (Decimal(size), Decimal(other), way)
    # What left took the oldest lots with it.
    assert position.cost == (Decimal(150) if way == "out" else Decimal(400))
    assert position.unrealised == position.size * 500 - position.cost


def test_coins_without_any_fill_have_a_price_and_no_cost() -> None:
    held = [Balance("SOL", Decimal(3), Decimal(1)), Balance("OLD", Decimal(1), ZERO)]
    prices = {("SOL", "USD"): Decimal(20)}
    sol, old = reversed(positions_of(Ledger(CostMethod.FIFO), held, prices, {"SOL": "USD"}, ()))
    assert (sol.base, sol.quote, sol.size, sol.balance, sol.other, sol.cost) == ("SOL", "USD", 4, 4, 4, None)
    assert (sol.value, sol.unrealised, sol.held_as) == (80, None, HeldAs.OTHER)
    assert (old.base, old.quote, old.size, old.value) == ("OLD", "", 1, None), "no market, and yet shown"
    (total,) = sums_of([sol, old])
    assert (total.value, total.without_cost, total.unrealised) == (80, 80, 0)


def test_balances_that_were_never_read_are_not_balances_of_nothing() -> None:
    ledger = Ledger(CostMethod.FIFO)
    ledger.apply(trade(Side.BUY, "2", "100"), ZERO)
    (unread,) = positions_of(ledger, None, {}, {}, ())
    assert (unread.size, unread.cost, unread.balance, unread.other) == (2, 200, None, None)
    assert unread.transferred == ""
    (empty,) = positions_of(ledger, [], {}, {}, ())
    assert (empty.size, empty.balance, empty.transferred) == (0, 0, "out")


@pytest.mark.parametrize("currency", ["USD", "ETH"])
def test_a_currency_that_only_paid_for_others_is_shown(currency: str) -> None:
    ledger = Ledger(CostMethod.FIFO)
    ledger.apply(trade(Side.BUY, "1", "100", quote=currency), ZERO)
    held = [Balance("BTC", Decimal(1), ZERO), Balance(currency, Decimal(50), ZERO)]
    _, paid = positions_of(ledger, held, {("ETH", "USD"): Decimal(2)}, {"ETH": "USD"}, {"USD"})
    assert (paid.base, paid.size, paid.other) == (currency, 50, 150)
    expected = (HeldAs.CASH, "", None) if currency == "USD" else (HeldAs.OTHER, "USD", Decimal(100))
    assert (paid.held_as, paid.quote, paid.value) == expected


@settings(max_examples=40, deadline=None)
@given(
    fill_lists(("quote", "base", "BNB")),
    st.dictionaries(
        st.sampled_from(["BTC", "ETH", "USD", "EUR", "BNB", "SOL"]),
        st.decimals(0, 1000, places=8),
        max_size=6,
    ),
)
def test_every_unit_of_a_balance_is_in_one_position(fills: list[Fill], amounts: dict[str, Decimal]) -> None:
    ledger = Ledger(CostMethod.FIFO)
    for one in fills:
        ledger.apply(one, fee_in_quote(one))
    found = positions_of(
        ledger, [Balance(name, size, ZERO) for name, size in amounts.items()], {}, {}, {"USD"}
    )
    for name, size in amounts.items():
        with exact():
            shown = sum((one.size for one in found if one.base == name), ZERO)
            assert abs(shown - size) <= Decimal("1e-17"), "shares are cut at 18 places"


def test_costs_in_two_currencies_are_two_books() -> None:
    ledger = Ledger(CostMethod.FIFO)
    ledger.apply(trade(Side.BUY, "1", "100"), ZERO)
    ledger.apply(trade(Side.SELL, "1", "90", quote="EUR"), ZERO)
    found = {one.quote: one for one in positions_of(ledger, [], {}, {}, ())}
    assert found["EUR"].sold_without_cost == 1
    assert found["EUR"].realised == found["USD"].realised == 0
    assert found["USD"].other == 0, "bought and sold: the fills explain that nothing is there"


def test_sums_are_per_currency_and_say_what_they_lack() -> None:
    ledger = Ledger(CostMethod.FIFO)
    for one in (trade(Side.BUY, "2", "100"), trade(Side.BUY, "1", "90", currency="EUR", quote="EUR")):
        ledger.apply(one, fee_in_quote(one))
    held = [Balance("BTC", Decimal(3), ZERO), Balance("DOGE", Decimal(7), ZERO)]
    dollars, euros = sums_of(positions_of(ledger, held, {("BTC", "USD"): Decimal(110)}, {}, ()))
    assert (dollars.quote, dollars.cost, dollars.value, dollars.unrealised, dollars.unpriced) == (
        "USD", 200, 220, 20, 0,
    )  # fmt: skip
    assert (euros.quote, euros.cost, euros.value, euros.unpriced) == ("EUR", 90, 0, 1)
