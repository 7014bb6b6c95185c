"""Which way a symbol leans over its timeframes (S8)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from livermore_dagster.market.stages import Stage
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["WEIGHTS", "Bias", "bias_of"]

WEIGHTS: Final = {tf: weight for weight, tf in enumerate(Timeframe, start=1)}
"""1m 1, 5m 2, 15m 3, 1h 4, 4h 5, 1d 6."""
DOMINANCE: Final = 1.5
BULLISH: Final = frozenset({Stage.OVERSOLD, Stage.REBOUNDING, Stage.RALLYING})
BEARISH: Final = frozenset({Stage.OVERBOUGHT, Stage.RETRACING, Stage.REVERSING})


class Bias(StrEnum):
    BULLISH = "bullish"
    BEARISH = "bearish"
    NEUTRAL = "neutral"


def bias_of(stages: Mapping[Timeframe, Stage]) -> Bias:
    """One side wins at more than 1.5 × the other; unknown, ranging and missing ones count for neither."""
    bullish = sum(WEIGHTS[tf] for tf, stage in stages.items() if stage in BULLISH)
    bearish = sum(WEIGHTS[tf] for tf, stage in stages.items() if stage in BEARISH)
    if bullish > DOMINANCE * bearish:
        return Bias.BULLISH
    return Bias.BEARISH if bearish > DOMINANCE * bullish else Bias.NEUTRAL
