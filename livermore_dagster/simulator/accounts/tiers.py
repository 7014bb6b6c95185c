"""What a simulated exchange charges: tiers by the account's volume of the last 30 days, counted in USD.

Rates are parts per million of a trade's value. The thresholds and rates are the exchanges' published ones of
2025, up to where an account of this simulator can come; they are not part of what Livermore knows.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BNB_DISCOUNT_PERCENT", "TIERS", "WINDOW_MS", "Tier"]

WINDOW_MS = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class Tier:
    """`from_usd`: the tier holds from this 30-day volume on."""

    name: str
    from_usd: int
    maker_ppm: int
    taker_ppm: int


TIERS: dict[str, tuple[Tier, ...]] = {
    "coinbase": (
        Tier("Intro 1", 0, 6000, 12000),
        Tier("Intro 2", 10_000, 3500, 7500),
        Tier("Advanced 1", 25_000, 2500, 4000),
        Tier("Advanced 2", 75_000, 1250, 2500),
        Tier("Advanced 3", 250_000, 750, 1500),
        Tier("VIP 1", 500_000, 600, 1250),
        Tier("VIP 2", 1_000_000, 500, 1000),
        Tier("VIP 3", 5_000_000, 400, 800),
        Tier("VIP 4", 10_000_000, 200, 700),
        Tier("VIP 5", 50_000_000, 0, 500),
    ),
    "binance": (
        Tier("Regular", 0, 1000, 1000),
        Tier("VIP 1", 1_000_000, 900, 1000),
        Tier("VIP 2", 5_000_000, 800, 1000),
        Tier("VIP 3", 20_000_000, 400, 600),
        Tier("VIP 4", 100_000_000, 400, 520),
    ),
    "binance_us": (
        Tier("0", 0, 4000, 6000),
        Tier("1", 10_000, 2500, 4000),
        Tier("2", 50_000, 1500, 2500),
        Tier("3", 100_000, 1000, 2000),
        Tier("4", 1_000_000, 800, 1800),
        Tier("5", 15_000_000, 600, 1600),
    ),
}

BNB_DISCOUNT_PERCENT = {"binance": 25, "binance_us": 5}
"""What paying in BNB saves."""
