"""Bars a series has not heard of, neither candle nor proven absent: a fold waits for them, or marks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from livermore_dagster.ingest.series_fold import SeriesFold
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.stores.postgres.asked_ranges import read_asked_ranges
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.redis.closes import Close
from livermore_dagster.stores.redis.indicator_cache import SeriesKey

__all__ = ["unknown_bars"]


async def unknown_bars(
    pool: Pool,
    exchange_id: int,
    heads: Mapping[SeriesKey, Close],
    folds: Mapping[SeriesKey, SeriesFold],
    rows: Mapping[SeriesKey, Sequence[StampedCandle]],
) -> dict[SeriesKey, int]:
    """How many bars before each head are neither in the cache (`rows`) nor in the ledger of asked ranges.

    A series that is still all history waits for nothing.
    """
    missing = {key: _missing(folds[key], close, rows[key]) for key, close in heads.items()}
    unknown: dict[SeriesKey, int] = {}
    if not any(missing.values()):
        return unknown
    async with pool.connection() as connection:
        for (symbol, timeframe), bars in missing.items():
            if bars:
                asked = await read_asked_ranges(connection, exchange_id, symbol, timeframe)
                unknown[symbol, timeframe] = sum(
                    not any(one.from_ms <= bar < one.to_ms for one in asked) for bar in bars
                )
    return unknown


def _missing(fold: SeriesFold, close: Close, rows: Sequence[StampedCandle]) -> list[int]:
    """Bars (their opens) before `close` that the cache lacks."""
    if fold.watermark is None:
        return []
    tf_ms, open_ms = close.timeframe.ms, close.candle.open_ms
    there = {row.candle.open_ms // tf_ms * tf_ms for row in rows}
    # Nothing lies before what is folded already; a seed counts from the first row to be judged.
    before = fold.bars_before(open_ms)
    if fold.newest_ms is None:
        last = max(there, default=open_ms // tf_ms * tf_ms)
        before = range((fold.watermark // tf_ms + 1) * tf_ms, last, tf_ms)
    return [bar for bar in before if bar not in there]
