"""What the closer has written to the candle cache: open candles, proven ones, and rows of a snapshot."""

from __future__ import annotations

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.closing_state import Series
from livermore_dagster.market.closing_types import Frame

__all__ = ["final_write", "late_write", "open_write"]


def open_write(series: Series, frame: Frame) -> StampedCandle:
    """The bucket as `frame` shows it, still open."""
    return StampedCandle(
        series.symbol, series.timeframe, frame.candle, Rank.OPEN, frame.event_ms, Origin.LIVE, frame.trades
    )


def final_write(series: Series, candle: Candle, stamp_ms: int, trades: int, proven_ms: int) -> StampedCandle:
    """A candle the stream proved closed, or a revision of one. `proven_ms`: exchange clock at the proof."""
    return StampedCandle(
        series.symbol, series.timeframe, candle, Rank.FINAL, stamp_ms, Origin.LIVE, trades, proven_ms
    )


def late_write(series: Series, candle: Candle, proven_ms: int) -> StampedCandle:
    """A closed row of a snapshot. Its stamp is its own open: it fills what is missing, overrides nothing."""
    return StampedCandle(
        series.symbol, series.timeframe, candle, Rank.FINAL, candle.open_ms, Origin.LATE, proven_ms=proven_ms
    )
