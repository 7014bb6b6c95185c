"""The fee report: its groupings agree to the last digit, and nothing depends on the order of fills."""

from __future__ import annotations

import random
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.fees import FeeLine, ReportFacts, cells_of, fee_report, month_of
from livermore_dagster.market.trades import Fill, Liquidity, Side
from tests.unit.market.trade_draws import JANUARY_MS, fee_in_quote, fill_lists

FACTS = ReportFacts("coinbase", "coinbase.1", 0)
ASSETS = ("quote", "base", "BNB")


def fill(number: int, order: str, symbol: str, side: Side, at: int, value: str, fee: str) -> Fill:
    base, quote = symbol.split("-")
    return Fill(
        f"f{number}", order, symbol, base, quote, side, at, Decimal(value), Decimal(1), Decimal(value),
        Decimal(fee), quote, Liquidity.TAKER,
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(fill_lists(ASSETS), st.randoms(use_true_random=False))
def test_all_groupings_are_the_fills(fills: list[Fill], shuffle: random.Random) -> None:
    report = fee_report(cells_of(fills, fee_in_quote), FACTS)
    for quote in {one.quote for one in fills}:
        own = [one for one in fills if one.quote == quote]
        with exact():
            volume = sum((one.value for one in own), Decimal(0))
            fees = sum((fee_in_quote(one) or Decimal(0) for one in own), Decimal(0))
        orders = len({(one.symbol, one.order_id) for one in own})
        for table in (report.by_symbol, report.by_side, report.by_month, report.totals):
            lines = [line for line in table if line.quote == quote]
            with exact():
                assert sum(line.volume for line in lines) == volume
                assert sum(line.fees for line in lines) == fees
            assert sum(line.fills for line in lines) == len(own)
            assert sum(line.unconverted for line in lines) == sum(fee_in_quote(one) is None for one in own)
        for table in (report.by_symbol, report.by_side, report.totals):
            assert sum(line.orders for line in table if line.quote == quote) == orders
        for line in report.by_month:
            if line.quote == quote:
                month = {one.order_id for one in own if month_of(one.filled_ms) == line.month}
                assert line.orders == len(month), "an order counts in each month it was filled in"
    shuffle.shuffle(fills)
    assert fee_report(cells_of(fills, fee_in_quote), FACTS) == report


@settings(max_examples=40, deadline=None)
@given(fill_lists())
def test_lines_stand_by_fees_highest_first_within_a_currency(fills: list[Fill]) -> None:
    report = fee_report(cells_of(fills, fee_in_quote), FACTS)
    for table in (report.by_symbol, report.by_side):
        for above, below in pairwise(table):
            assert above.quote != below.quote or above.fees >= below.fees
    months = [(line.quote, line.month) for line in report.by_month]
    assert len(months) == len(set(months))


def test_known_numbers() -> None:
    fills = [
        fill(1, "a", "BTC-USD", Side.BUY, JANUARY_MS, "1000", "6"),
        fill(2, "a", "BTC-USD", Side.BUY, JANUARY_MS + 31 * 86_400_000, "500", "3"),
        fill(3, "b", "BTC-USD", Side.SELL, JANUARY_MS, "2000", "8"),
        fill(4, "c", "ETH-EUR", Side.BUY, JANUARY_MS, "100", "1.2"),
    ]
    report = fee_report(cells_of(fills, fee_in_quote), FACTS, currency="USD", rates={"EUR": Decimal("1.1")})
    assert [(line.symbol, line.orders, line.fees) for line in report.by_symbol] == [
        ("BTC-USD", 2, Decimal(17)),
        ("ETH-EUR", 1, Decimal("1.2")),
    ]
    bitcoin = report.by_symbol[0]
    assert bitcoin.average_fee == Decimal("8.5")
    assert f"{bitcoin.rate:.6f}" == "0.004857"
    assert [(line.month, line.orders) for line in report.by_month if line.quote == "USD"] == [
        ("2026-01", 2),
        ("2026-02", 1),
    ]
    assert [line.quote for line in report.totals] == ["USD", "EUR"]
    assert report.in_currency is not None
    assert report.in_currency.fees == Decimal("18.32")
    assert report.rates == {"EUR": Decimal("1.1")}


def test_a_rate_is_never_taken_to_be_one() -> None:
    cells = cells_of([fill(1, "a", "ETH-EUR", Side.BUY, JANUARY_MS, "100", "1")], fee_in_quote)
    with pytest.raises(KeyError, match="EUR"):
        fee_report(cells, FACTS, currency="USD")


def test_a_fee_without_a_price_is_counted_and_not_added() -> None:
    strange = Fill(
        "f", "o", "BTC-USD", "BTC", "USD", Side.BUY, JANUARY_MS, Decimal(10), Decimal(1), Decimal(10),
        Decimal("0.01"), "BNB", Liquidity.MAKER,
    )  # fmt: skip
    line = fee_report(cells_of([strange], fee_in_quote), FACTS).totals[0]
    assert (line.fees, line.unconverted, line.volume) == (0, 1, 10)


def test_a_million_small_fees_sum_without_rounding() -> None:
    tiny = Decimal("0.000000000000000001")
    with exact():
        assert Decimal(10**12) + tiny - Decimal(10**12) == tiny


def test_an_empty_line_has_no_rate() -> None:
    empty = FeeLine("USD", None, None, None, 0, 0, *[Decimal(0)] * 6, 0)
    assert empty.rate is None
    assert empty.average_fee is None
