"""Pictures of fees: their scales are round, and tell small amounts apart."""

from __future__ import annotations

import base64
import re
from decimal import Decimal

import pytest

from assets.fee_pictures import months_markdown
from livermore_dagster.market.fees import ReportFacts, cells_of, fee_report
from livermore_dagster.market.trades import Fill, Liquidity, Side

JANUARY_MS = 1_767_225_600_000


@pytest.mark.parametrize(
    ("fee", "value", "fees", "rates"),
    [
        ("1386.82", "1777974.36", ["400", "800", "1,200", "1,600"], ["0.02%", "0.04%", "0.06%", "0.08%"]),
        ("0.45", "37.5", ["0.15", "0.3", "0.45", "0.6"], ["0.3%", "0.6%", "0.9%", "1.2%"]),
        ("0.00031", "0.31", ["0.0001", "0.0002", "0.0003", "0.0004"], ["0.025%", "0.05%", "0.075%", "0.1%"]),
    ],
)
def test_the_scales_of_months_are_round(fee: str, value: str, fees: list[str], rates: list[str]) -> None:
    one = Fill(
        "f", "o", "BTC-USD", "BTC", "USD", Side.BUY, JANUARY_MS, Decimal(value), Decimal(1), Decimal(value),
        Decimal(fee), "USD", Liquidity.TAKER,
    )  # fmt: skip
    cells = cells_of([one], lambda fill: fill.fee)
    picture = months_markdown(fee_report(cells, ReportFacts("coinbase", "coinbase.1", JANUARY_MS), []))
    svg = base64.b64decode(picture.split("base64,")[1].rstrip(")")).decode()
    labels = re.findall(r">([^<>]+)</text>", svg)
    assert [one for one in labels if re.fullmatch(r"[\d.,]+", one)] == fees
    assert [one for one in labels if one.endswith("%")] == rates
