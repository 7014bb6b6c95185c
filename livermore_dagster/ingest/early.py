"""Rows REST gave before they could have settled: which of them nobody would soon ask for again."""

from __future__ import annotations

from collections.abc import Iterable

from livermore_dagster.market.candle import Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["left_over", "would_stand_long"]


def would_stand_long(timeframe: Timeframe) -> bool:
    """The next boundary run of its timeframe asks again: of a longer one an hour or a day later.

    Of 15m that is soon enough; a request for each symbol would cost the budget more than the boundary.
    """
    return timeframe.ms >= Timeframe.H1.ms


def left_over(cached: Iterable[StampedCandle], now_ms: int) -> list[StampedCandle]:
    """Of a series that is not streamed: early rows whose second look a pause or a death has taken along.

    Those of 15m too whose next run should have been by `now_ms`: none looks behind bars that came since.
    What the cache got back from PostgreSQL keeps the rank it was stored with, whatever was confirmed since.
    """
    return [
        one
        for one in cached
        if one.rank is Rank.FINAL
        and one.origin is not Origin.WARMUP
        and (would_stand_long(one.timeframe) or one.end_ms + one.timeframe.ms <= now_ms)
    ]
