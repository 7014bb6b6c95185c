"""How long candles at rest are kept, per timeframe (P16).

500 symbols make 720,000 1m candles a day: 65 million in 90 days, about 9 GB with their index. From 1h up a
decade of them is less than one such quarter, so they are kept for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from livermore_dagster.errors import BadSetting
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["DEFAULT_DAYS", "cutoff_ms", "least_days", "require_days"]

DAY_MS: Final = 86_400_000
LEAST_BARS: Final = 1_000
"""What the cache holds of a series stays at rest too, and is three times what a MACD-V needs."""
DEFAULT_DAYS: Final[Mapping[Timeframe, int | None]] = {
    Timeframe.M1: 90,
    Timeframe.M5: 365,
    Timeframe.M15: 1_095,
    Timeframe.H1: None,
    Timeframe.H4: None,
    Timeframe.D1: None,
}
"""None: for good."""


def least_days(timeframe: Timeframe) -> int:
    """Fewer days than these would not hold LEAST_BARS bars."""
    return -(-LEAST_BARS * timeframe.ms // DAY_MS)


def require_days(timeframe: Timeframe, days: int) -> int:
    """`days` itself. Raises BadSetting where they are too few."""
    least = least_days(timeframe)
    if days < least:
        raise BadSetting(
            f"{days} days of {timeframe.value} candles are too few.",
            f"Keep at least {least}: {LEAST_BARS:,} bars, which indicators and checks need.",
        )
    return days


def cutoff_ms(keep_days: int | None, now_ms: int) -> int | None:
    """Candles that open before this (epoch ms) go; None: none does. `now_ms`: exchange clock."""
    return None if keep_days is None else now_ms - keep_days * DAY_MS
