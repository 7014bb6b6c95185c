"""What a planned trade will cost: fees by preset, the move that breaks even, what the next tier would save.

Rates are fractions (0.006 is 0.6 %), amounts in quote currency. A preset says which share of the trade is
made (rests in the book) and which is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.trades import FeeTier, Side

__all__ = ["FeeEstimate", "NextTier", "Preset", "TierStep", "estimate_fees", "maker_share_of", "next_tier"]


class Preset(StrEnum):
    CONSERVATIVE = "conservative"
    """Every leg is taken."""
    MODERATE = "moderate"
    """Half made, half taken; of a round trip, the way in is made and the way out is taken."""
    OPTIMISTIC = "optimistic"
    """Every leg is made."""
    HISTORY = "history"
    """The account's own mix of its filled value."""


_MAKER_SHARE = {
    Preset.CONSERVATIVE: Decimal(0),
    Preset.MODERATE: Decimal("0.5"),
    Preset.OPTIMISTIC: Decimal(1),
}


@dataclass(frozen=True, slots=True)
class TierStep:
    """One tier of an exchange's fee schedule: valid from a 30-day volume (in the tier's currency) on."""

    name: str
    volume_from: Decimal
    maker_rate: Decimal
    taker_rate: Decimal


@dataclass(frozen=True, slots=True)
class NextTier:
    """`distance`: 30-day volume still missing; `saving`: what this trade would cost less there."""

    step: TierStep
    distance: Decimal
    saving: Decimal


@dataclass(frozen=True, slots=True)
class FeeEstimate:
    """`fee`: of all legs together, in quote. A round trip's second leg is taken to have the first's value."""

    amount: Decimal
    side: Side
    round_trip: bool
    preset: Preset
    maker_share: Decimal
    rate: Decimal
    """Blended, of one leg."""
    fee: Decimal
    break_even: Decimal
    """Fraction the price must move in the trade's favour for the fees to be earned back: after buying at p,
    selling at p × (1 + move) leaves exactly what was paid, fees on both ends included. For one leg alone, the
    move that pays its own fee."""
    next_tier: NextTier | None


def maker_share_of(maker_volume: Decimal, taker_volume: Decimal) -> Decimal | None:
    """Share of filled value that was made; None where none of it is known."""
    with exact():
        known = maker_volume + taker_volume
        return maker_volume / known if known else None


def estimate_fees(
    amount: Decimal,
    side: Side,
    tier: FeeTier,
    preset: Preset,
    *,
    round_trip: bool = False,
    own_maker_share: Decimal | None = None,
    schedule: Sequence[TierStep] = (),
) -> FeeEstimate:
    """Cost of trading `amount` (quote currency) once, or in and out.

    Raises ValueError for an amount that is not above 0, and for the preset history without an own share.
    """
    if not amount.is_finite() or amount <= 0:
        raise ValueError(f"the amount {amount} is not above 0")
    share = own_maker_share if preset is Preset.HISTORY else _MAKER_SHARE[preset]
    if share is None:
        raise ValueError("there is no history to take the maker share from")
    with exact():
        rate = _blended(share, tier.maker_rate, tier.taker_rate)
        legs = 2 if round_trip else 1
        return FeeEstimate(
            amount, side, round_trip, preset, share, rate, amount * rate * legs,
            _break_even(side, *_ends(preset, tier, rate)) if round_trip else rate,
            next_tier(tier, schedule, amount * legs, share),
        )  # fmt: skip


def _blended(maker_share: Decimal, maker: Decimal, taker: Decimal) -> Decimal:
    return maker_share * maker + (1 - maker_share) * taker


def _ends(preset: Preset, tier: FeeTier, rate: Decimal) -> tuple[Decimal, Decimal]:
    """Rates of the way in and of the way out."""
    return (tier.maker_rate, tier.taker_rate) if preset is Preset.MODERATE else (rate, rate)


def _break_even(side: Side, way_in: Decimal, way_out: Decimal) -> Decimal:
    if side is Side.BUY:
        return (1 + way_in) / (1 - way_out) - 1
    return 1 - (1 - way_in) / (1 + way_out)


def next_tier(
    tier: FeeTier, schedule: Sequence[TierStep], traded: Decimal, maker_share: Decimal
) -> NextTier | None:
    """The first step above the account's 30-day volume that costs less; None where it is not known or there
    is none. `traded`: value of all legs, in quote."""
    if tier.volume_30d is None:
        return None
    with exact():
        now = _blended(maker_share, tier.maker_rate, tier.taker_rate)
        for step in sorted(schedule, key=lambda one: one.volume_from):
            there = _blended(maker_share, step.maker_rate, step.taker_rate)
            if step.volume_from > tier.volume_30d and there < now:
                return NextTier(step, step.volume_from - tier.volume_30d, traded * (now - there))
    return None
