"""What one round of closes leads to, series by series, until it is durable."""

from __future__ import annotations

from livermore_dagster.ingest.series_fold import Outcome
from livermore_dagster.stores.redis.closes import Close
from livermore_dagster.stores.redis.indicator_cache import SeriesKey

__all__ = ["Round"]


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
