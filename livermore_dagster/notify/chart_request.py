"""What a chart is painted from; it travels to the painting process."""

from __future__ import annotations

import msgspec

__all__ = ["ChartRequest"]


class ChartRequest(msgspec.Struct, frozen=True):
    """What to paint: closed bars up to the alert's own candle, none after it. Times are epoch ms.

    `macdv` and `signal` have one entry per bar, None without a value. `shown`: how many of the last bars are
    drawn; those before them only feed the EMA.
    """

    title: str
    subtitle: str
    up: bool
    tf_ms: int
    open_ms: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]
    macdv: list[float | None]
    signal: list[float | None]
    value: float | None
    """The alert's own MACD-V, at the last bar."""
    simulated: bool = False
    shown: int = 120
