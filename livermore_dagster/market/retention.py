"""How long candles at rest are kept, per timeframe, and what was done and told besides (P16).

500 symbols make 720,000 1m candles a day: 65 million in 90 days, about 9 GB with their index. From 1h up a
decade of them is less than one such quarter, so they are kept for good. So are alerts, trades, fees and the
changes of settings: those are an audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from livermore_dagster.errors import BadSetting
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe

__all__ = ["DEFAULT_DAYS", "KEPT", "Kept", "Records", "cutoff_ms", "kept_of", "least_days", "require_days"]


class Records(StrEnum):
    """What is kept for a time and is of no timeframe; the value is its name in commands and tables."""

    DELIVERIES = "deliveries"
    """What each user was told of each alert, and how that went."""
    COMMANDS = "commands"
    """Commands to instances and what became of them."""


Kept = Timeframe | Records
KEPT: Final[tuple[Kept, ...]] = (*TIMEFRAMES, *Records)

DAY_MS: Final = 86_400_000
LEAST_BARS: Final = 1_000
"""What the cache holds of a series stays at rest too, and is three times what a MACD-V needs."""
MOST_DAYS: Final = 36_500
"""A hundred years; longer is for good."""
LEAST_RECORD_DAYS: Final = 7
"""What `status` and `notify` count, and cooldowns look back at, lies within the last of these."""
DEFAULT_DAYS: Final[Mapping[Kept, int | None]] = {
    Timeframe.M1: 90,
    Timeframe.M5: 365,
    Timeframe.M15: 1_095,
    Timeframe.H1: None,
    Timeframe.H4: None,
    Timeframe.D1: None,
    Records.DELIVERIES: 90,
    Records.COMMANDS: 365,
}
"""None: for good."""


def kept_of(name: str) -> Kept:
    """'1m' … '1d', 'deliveries', 'commands'. Raises BadSetting, which names what exists."""
    for kept in KEPT:
        if kept.value == name:
            return kept
    raise BadSetting(
        f"Unknown timeframe {name!r}.", f"Timeframes: {', '.join(TIMEFRAMES)}; besides: {', '.join(Records)}."
    )


def least_days(kept: Kept) -> int:
    """Fewer days than these would not hold LEAST_BARS bars, or what is still looked at."""
    return LEAST_RECORD_DAYS if isinstance(kept, Records) else -(-LEAST_BARS * kept.ms // DAY_MS)


def require_days(kept: Kept, days: int) -> int:
    """`days` itself. Raises BadSetting where they are too few or too many."""
    least = least_days(kept)
    if days > MOST_DAYS:
        raise BadSetting(
            f"{days} days of {kept.value} are too many.",
            f"Keep at most {MOST_DAYS:,}, or say forever: livermore retention set {kept.value} forever",
        )
    if days >= least:
        return days
    if isinstance(kept, Records):
        raise BadSetting(f"{days} days of {kept.value} are too few.", f"Keep at least {least}.")
    raise BadSetting(
        f"{days} days of {kept.value} candles are too few.",
        f"Keep at least {least}: {LEAST_BARS:,} bars, which indicators and checks need.",
    )


def cutoff_ms(keep_days: int | None, now_ms: int) -> int | None:
    """What is of before this (epoch ms) goes; None: nothing does.

    `now_ms`: the clock that stamps it, for candles the exchange's, for records the wall's.
    """
    return None if keep_days is None else now_ms - keep_days * DAY_MS
