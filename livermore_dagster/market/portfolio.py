"""The portfolio signal of a symbol from its 1h, 4h and 1d values (S10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from livermore_dagster.market.timeframe import Timeframe

__all__ = ["PORTFOLIO_TIMEFRAMES", "PortfolioLabel", "PortfolioSignal", "portfolio_signal"]

PORTFOLIO_TIMEFRAMES: Final = (Timeframe.H1, Timeframe.H4, Timeframe.D1)


class PortfolioLabel(StrEnum):
    STRONG_BUY = "STRONG BUY"
    STRONG_SELL = "STRONG SELL"
    BULLISH = "Bullish"
    BEARISH = "Bearish"
    REVERSAL_UP = "Reversal Up?"
    REVERSAL_DOWN = "Reversal Down?"
    MIXED = "Mixed"
    NO_DATA = "No Data"


@dataclass(frozen=True, slots=True)
class PortfolioSignal:
    """`reason` says why there is no data, naming the timeframes; '' otherwise."""

    label: PortfolioLabel
    reason: str = ""


def portfolio_signal(
    values: Mapping[Timeframe, float | None], reasons: Mapping[Timeframe, str] | None = None
) -> PortfolioSignal:
    """Signal of the three values; the first rule that holds decides, from strong to mixed.

    `reasons` says why a timeframe has no value ('unsupported' where an exchange lacks 4h).
    """
    missing = [tf for tf in PORTFOLIO_TIMEFRAMES if values.get(tf) is None]
    if missing:
        of_reason: dict[str, list[str]] = {}
        for tf in missing:
            of_reason.setdefault((reasons or {}).get(tf, "no value yet"), []).append(tf.value)
        why = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in of_reason.items())
        return PortfolioSignal(PortfolioLabel.NO_DATA, why)
    hour, four, day = (float(values[tf] or 0.0) for tf in PORTFOLIO_TIMEFRAMES)
    return PortfolioSignal(_label(hour, four, day))


def _label(hour: float, four: float, day: float) -> PortfolioLabel:
    rules = (
        (hour > 50 and four > 50 and day > 0, PortfolioLabel.STRONG_BUY),
        (hour < -50 and four < -50 and day < 0, PortfolioLabel.STRONG_SELL),
        (hour > 0 and four > 0 and day > 0, PortfolioLabel.BULLISH),
        (hour < 0 and four < 0 and day < 0, PortfolioLabel.BEARISH),
        (hour > 50 and four < 0, PortfolioLabel.REVERSAL_UP),
        (hour < -50 and four > 0, PortfolioLabel.REVERSAL_DOWN),
    )
    return next((label for holds, label in rules if holds), PortfolioLabel.MIXED)
