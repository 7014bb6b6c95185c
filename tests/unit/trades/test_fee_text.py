"""Fee reports as text: two places, three for rates, right-aligned, and never a silent gap."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from livermore_dagster.market.fees import ReportFacts, UnconvertedFee, cells_of, fee_report
from livermore_dagster.market.trades import FeeTier, Fill, Liquidity, Side
from livermore_dagster.stores.postgres.fee_tiers import SeenTier
from livermore_dagster.trades.fee_text import as_money, as_rate, as_size, markdown, tier_told

JANUARY_MS = 1_767_225_600_000


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("1234567.005", "USD", "1,234,567.01"),
        ("-0.004", "USD", "0.00"),
        ("-2.5", "USDT", "-2.50"),
        ("0.123456785", "BTC", "0.12345679"),
        ("0", "BTC", "0.00000000"),
        ("99999999999999999999999999.999", "USD", "100,000,000,000,000,000,000,000,000.00"),
    ],
)
def test_money(amount: str, currency: str, text: str) -> None:
    assert as_money(Decimal(amount), currency) == text


def test_rates_and_sizes() -> None:
    assert as_rate(Decimal("0.0012345")) == "0.123%"
    assert as_rate(Decimal("0.0012355")) == "0.124%"
    assert as_rate(None) == as_money(None, "USD") == "–"
    assert as_size(Decimal("0.302068054553568218")) == "0.30206805"
    assert as_size(Decimal(120)) == "120"
    assert as_size(Decimal("3225767.50")) == "3,225,767.5"


def test_rates_by_market_are_told_of_most_markets() -> None:
    def seen(market: str, taker: str, name: str) -> SeenTier:
        return SeenTier(market, 1, FeeTier(name, Decimal("0.001"), Decimal(taker), None, None, None))

    paid_in = " (× 0.75 where paid in BNB)"
    alike = [seen("BTCUSDT", "0.001", f"BTCUSDT{paid_in}"), seen("ETHUSDT", "0.001", f"ETHUSDT{paid_in}")]
    told = tier_told(alike)
    assert told is not None
    assert told.name == f"all 2 markets traded{paid_in}"
    told = tier_told([*alike, seen("BTCFDUSD", "0", "BTCFDUSD"), seen("BTCUSDT", "0.002", "older")])
    assert told is not None
    assert (told.name, told.taker_rate) == (f"2 of 3 markets traded{paid_in}", Decimal("0.001"))
    assert (
        tier_told([seen("", "0.002", "VIP 2"), seen("", "0.003", "VIP 1")]) == seen("", "0.002", "VIP 2").tier
    )
    assert tier_told([]) is None
    told = tier_told([seen("BTCUSD", "0.004", "account"), seen("ETHUSD", "0.004", "account")])
    assert told is not None
    assert told.name == "all 2 markets traded (account)"


def fill(number: int, symbol: str, value: str, fee: str, currency: str = "USD") -> Fill:
    base, quote = symbol.split("-")
    return Fill(
        f"f{number}", f"o{number}", symbol, base, quote, Side.BUY, JANUARY_MS, Decimal(value), Decimal(1),
        Decimal(value), Decimal(fee), currency, Liquidity.TAKER,
    )  # fmt: skip


def test_the_report_as_markdown() -> None:
    fills = [fill(1, "BTC-USD", "1000000", "6000.125"), fill(2, "ETH-USD", "5", "0.001", "BNB")]
    cells = cells_of(fills, lambda one: one.fee if one.fee_currency == one.quote else None)
    tier = FeeTier("VIP | 1", Decimal("0.0006"), Decimal("0.00125"), Decimal("617244.8"), None, "USD")
    facts = ReportFacts("coinbase", "coinbase.1", JANUARY_MS, first_ms=JANUARY_MS, tier=tier, complete=False)
    facts = replace(facts, aside={"SYNTHETIC": 1, "REVERSAL": 1200})
    text = markdown(fee_report(cells, facts, [UnconvertedFee("BNB", Decimal("0.001"), 1)]))
    lines = text.splitlines()
    assert "- **Generated:** 2026-01-01 00:00 UTC" in lines
    assert "- **Fee tier:** VIP | 1: maker 0.060%, taker 0.125%" in lines
    assert "- **Last 30 days:** volume 617,244.80 USD" in lines
    assert any("not read to its end" in line for line in lines)
    assert any("0.001 BNB in fees of 1 fills have no known price" in line for line in lines)
    assert any("1,200 REVERSAL, 1 SYNTHETIC" in line and "in no sum" in line for line in lines)
    table = lines[lines.index("## By symbol") + 2 :][:5]
    assert len({len(line) for line in table}) == 1, "the file reads as it is, too"
    assert [cell.strip() for cell in table[2].strip("|").split("|")] == [
        "BTC-USD", "USD", "6,000.13", "1,000,000.00", "0.600%", "6,000.13", "1",
    ]  # fmt: skip
    assert "0.00*" in table[3], "what lacks a fee says so"
    assert table[4].startswith("| **Total** ")
    assert table[1].count(":|") == 5


def test_a_report_without_trades_has_no_tables() -> None:
    text = markdown(fee_report([], ReportFacts("coinbase", "coinbase.1", JANUARY_MS), []))
    assert text.endswith("\n\nNo trade there.\n")
    assert "Data" not in text
    assert "|" not in text
