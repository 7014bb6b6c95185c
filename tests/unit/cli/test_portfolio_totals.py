"""Totals of a portfolio: what has no price is no zero."""

from __future__ import annotations

from decimal import Decimal

import pytest

from livermore_dagster.cli.portfolio_command import _total_cells
from livermore_dagster.market.cost_basis import PositionSum


@pytest.mark.parametrize(
    ("value", "unpriced", "shown"),
    [
        ("1234.5", 0, ("1,234.50", "34.50")),
        ("1234.5", 2, ("1,234.50*", "34.50*")),
        ("0", 2, ("–*", "–*")),
        ("0", 0, ("0.00", "34.50")),
    ],
)
def test_a_total_without_any_price_is_no_zero(value: str, unpriced: int, shown: tuple[str, str]) -> None:
    zero, gain = Decimal(0), Decimal("34.5")
    total = PositionSum("USDT", Decimal(1200), Decimal(value), zero, gain, zero, zero, unpriced)
    cells = _total_cells(total)
    assert (cells["value"], cells["unrealised"], cells["cost"]) == (*shown, "1,200.00")
