"""What one round of closes leads to, series by series, until it is durable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from livermore_dagster.ingest.series_outcome import Outcome
from livermore_dagster.stores.redis.closes import Close
from livermore_dagster.stores.redis.indicator_cache import SeriesKey

__all__ = ["Round", "in_parts"]

_SERIES_AT_ONCE: Final = 50
"""Series whose cached candles are in memory together: of 1,000 at once they would take half a gigabyte."""


class Round:
    """`taken`: closes whose effect is in `outcomes`, in their order. `states`: the folds after them, as kept.

    `now_ms`: exchange clock by series. `wall_ms`: when a close was appended, by series and open.
    """

    def __init__(self) -> None:
        self.outcomes: dict[SeriesKey, Outcome] = {}
        self.states: dict[SeriesKey, str] = {}
        self.taken: dict[SeriesKey, list[Close]] = {}
        self.now_ms: dict[SeriesKey, int] = {}
        self.wall_ms: dict[tuple[SeriesKey, int], int] = {}

    def of(self, key: SeriesKey) -> Outcome:
        return self.outcomes.setdefault(key, Outcome())

    def drop(self, key: SeriesKey) -> list[Close]:
        """Forgets what came of a series' closes, and gives these back."""
        self.outcomes.pop(key, None)
        return self.taken.pop(key, [])


def in_parts(heads: Mapping[SeriesKey, Close]) -> Iterator[dict[SeriesKey, Close]]:
    """`heads` a few at a time, each part of one timeframe."""
    for timeframe in {key[1]: None for key in heads}:
        keys = [key for key in heads if key[1] is timeframe]
        for start in range(0, len(keys), _SERIES_AT_ONCE):
            yield {key: heads[key] for key in keys[start : start + _SERIES_AT_ONCE]}
