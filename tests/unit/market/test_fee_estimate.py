"""Estimates: presets, the move that breaks even, what the next tier saves."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.fee_estimate import Preset, TierStep, estimate_fees, maker_share_of
from livermore_dagster.market.trades import FeeTier, Side

TIER = FeeTier("Intro 1", Decimal("0.006"), Decimal("0.012"), Decimal(8_000), Decimal(80), "USD")
STEPS = [
    TierStep("Intro 1", Decimal(0), Decimal("0.006"), Decimal("0.012")),
    TierStep("Intro 2", Decimal(10_000), Decimal("0.004"), Decimal("0.008")),
]


@pytest.mark.parametrize(
    ("preset", "fee"), [("conservative", "12"), ("moderate", "9"), ("optimistic", "6"), ("history", "7.5")]
)
def test_presets(preset: str, fee: str) -> None:
    found = estimate_fees(Decimal(1000), Side.BUY, TIER, Preset(preset), own_maker_share=Decimal("0.75"))
    assert found.fee == Decimal(fee)
    both = estimate_fees(
        Decimal(1000), Side.BUY, TIER, Preset(preset), round_trip=True, own_maker_share=Decimal("0.75")
    )
    assert both.fee == 2 * found.fee


@given(
    st.integers(0, 500).map(lambda tenth: Decimal(tenth).scaleb(-4)), st.sampled_from(Side),
    st.integers(1, 10**9),
)  # fmt: skip
def test_break_even_leaves_what_was_there(rate: Decimal, side: Side, amount: int) -> None:
    tier = FeeTier("", rate, rate, None, None, None)
    found = estimate_fees(Decimal(amount), side, tier, Preset.CONSERVATIVE, round_trip=True)
    with exact():
        if side is Side.BUY:
            left = Decimal(1) * (1 + found.break_even) * (1 - rate) - (1 + rate)
        else:
            left = (1 - rate) - (1 - found.break_even) * (1 + rate)
        assert abs(left) < Decimal("1e-70")


@given(
    st.integers(0, 500).map(lambda tenth: Decimal(tenth).scaleb(-4)),
    st.integers(0, 500).map(lambda tenth: Decimal(tenth).scaleb(-4)), st.sampled_from(Side),
)  # fmt: skip
def test_a_moderate_round_trip_goes_in_by_the_maker_rate_and_out_by_the_taker_rate(
    maker: Decimal, taker: Decimal, side: Side
) -> None:
    tier = FeeTier("", maker, taker, None, None, None)
    found = estimate_fees(Decimal(1000), side, tier, Preset.MODERATE, round_trip=True)
    with exact():
        assert found.fee == 1000 * (maker + taker)
        if side is Side.BUY:
            left = (1 + found.break_even) * (1 - taker) - (1 + maker)
        else:
            left = (1 - maker) - (1 - found.break_even) * (1 + taker)
        assert abs(left) < Decimal("1e-70")


def test_the_next_tier() -> None:
    found = estimate_fees(Decimal(1000), Side.BUY, TIER, Preset.CONSERVATIVE, schedule=STEPS)
    assert found.next_tier is not None
    assert (found.next_tier.step.name, found.next_tier.distance) == ("Intro 2", Decimal(2000))
    assert found.next_tier.saving == 4
    top = FeeTier("Intro 2", Decimal("0.004"), Decimal("0.008"), Decimal(20_000), None, "USD")
    assert estimate_fees(Decimal(1000), Side.BUY, top, Preset.CONSERVATIVE, schedule=STEPS).next_tier is None


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity"])
def test_an_amount_is_above_zero(amount: str) -> None:
    with pytest.raises(ValueError, match="not above 0"):
        estimate_fees(Decimal(amount), Side.BUY, TIER, Preset.OPTIMISTIC)


def test_without_history_there_is_no_own_mix() -> None:
    assert maker_share_of(Decimal(0), Decimal(0)) is None
    with pytest.raises(ValueError, match="no history"):
        estimate_fees(Decimal(1), Side.BUY, TIER, Preset.HISTORY)
