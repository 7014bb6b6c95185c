"""MACD-V over candles as they are kept: what is seeded, filled in, checked against and drawn."""

from __future__ import annotations

from collections.abc import Sequence

from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.macdv import MacdvPoint
from livermore_dagster.market.macdv_batch import Columns, batch
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["EXACT_BARS", "FORGET_BARS", "columns_of", "macdv_points"]

FORGET_BARS = 300
"""Bars after which a value no longer depends on where its series was seeded (R12: 0.001 points)."""
EXACT_BARS = 600
"""Observed bars after which it is the same to 1e-6 points: of Wilder's seed (25/26)^600 = 6e-11 is left.
Bars that nobody traded in do not count, for they leave the ATR as it is."""


def columns_of(candles: Sequence[StampedCandle], timeframe: Timeframe) -> Columns:
    """Of final candles, oldest first."""
    opens = [one.candle.open_ms for one in candles]
    high, low, close, volume = (
        [float(getattr(one.candle, name)) for one in candles] for name in ("high", "low", "close", "volume")
    )
    return batch(opens, high, low, close, volume, timeframe)


def macdv_points(candles: Sequence[StampedCandle], timeframe: Timeframe) -> list[MacdvPoint]:
    """One point per observed bar: unobserved ones carry no value of their own (S2)."""
    columns = columns_of(candles, timeframe)
    points = [columns.point(index) for index in range(len(columns))]
    return [point for point in points if point.observed]
