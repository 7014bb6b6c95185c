"""The stage a MACD-V value stands in (S3): complete, and no two at once."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Stage", "stage_of"]


class Stage(StrEnum):
    UNKNOWN = "unknown"
    OVERSOLD = "oversold"
    OVERBOUGHT = "overbought"
    RALLYING = "rallying"
    REBOUNDING = "rebounding"
    RANGING = "ranging"
    RETRACING = "retracing"
    REVERSING = "reversing"


def stage_of(macdv: float | None, signal: float | None) -> Stage:
    """Stage of a value and its signal line; a NaN counts as no value.

    >>> stage_of(-150.0, -140.0), stage_of(-150.1, None)
    (<Stage.REVERSING: 'reversing'>, <Stage.OVERSOLD: 'oversold'>)
    """
    if macdv is None or macdv != macdv:
        return Stage.UNKNOWN
    if macdv < -150:
        return Stage.OVERSOLD
    if signal is None or signal != signal:
        return Stage.UNKNOWN
    if macdv < -50:
        return Stage.REBOUNDING if macdv >= signal else Stage.REVERSING
    if macdv < 50:
        if macdv == signal:
            return Stage.RANGING
        return Stage.REBOUNDING if macdv > signal else Stage.RETRACING
    if macdv < signal:
        return Stage.RETRACING
    return Stage.OVERBOUGHT if macdv > 150 else Stage.RALLYING
