"""Bars a series has not heard of, neither candle nor proven absent: a fold waits for them, or marks them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Final

from livermore_dagster.clock import Clock
from livermore_dagster.ingest.series_fold import SeriesFold
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.stores.postgres.asked_ranges import read_asked_ranges
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.redis.closes import Close
from livermore_dagster.stores.redis.indicator_cache import SeriesKey

__all__ = ["AwaitedBars", "unknown_bars"]

_LOOK_S: Final = 0.1
"""Series that wait for REST are looked at this often, their closes apart …"""
_LOOK_COLD_S: Final = 2.0
"""… and this often while the warm-up is on its way: hundreds may wait for minutes then."""


class AwaitedBars:
    """Series that wait for bars nobody knows of, and until when.

    `patience_s`: real time to wait, from when `warm` is set: until then the warm-up is on its way.
    """

    def __init__(self, clock: Clock, patience_s: float, warm: asyncio.Event | None) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._warm = warm
        self.clear()

    def clear(self) -> None:
        self._until: dict[SeriesKey, float] = {}
        self._looked = -math.inf

    def __contains__(self, key: SeriesKey) -> bool:
        return key in self._until

    def __bool__(self) -> bool:
        return bool(self._until)

    def due(self) -> set[SeriesKey]:
        """All that wait, if it is time to look at them again."""
        now = self._clock.monotonic()
        if now - self._looked < (_LOOK_COLD_S if self._is_cold else _LOOK_S):
            return set()
        self._looked = now
        return {*self._until}

    def in_vain(self, key: SeriesKey) -> bool:
        """Bars before the series' next close are unknown: it waits, unless it has for too long."""
        now = self._clock.monotonic()
        if self._is_cold:
            self._until[key] = math.inf
        elif self._until.get(key, math.inf) == math.inf:
            self._until[key] = now + self._patience_s
        return now >= self._until[key]

    def over(self, key: SeriesKey) -> None:
        self._until.pop(key, None)

    @property
    def _is_cold(self) -> bool:
        return self._warm is not None and not self._warm.is_set()


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
        # Bars before a symbol's listing are not missing.
        begin = max(fold.watermark + 1, fold.history_start or 0)
        before = range(-(-begin // tf_ms) * tf_ms, last, tf_ms)
    return [bar for bar in before if bar not in there]
