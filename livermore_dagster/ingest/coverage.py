"""What is known of one series: which bars are here, absent, or before its beginning."""

from __future__ import annotations

from dataclasses import dataclass, field

from livermore_dagster.market.gaps import missing_ranges
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Coverage"]

WINDOWS = 4
"""How many times `bars` a sparse series is read back at most to find that many candles."""


@dataclass(slots=True)
class Coverage:
    """`opens` are stored; `asked` hold no candle, as REST said; before `first_ms` there is nothing.

    `tried` was asked for in this run without a proof: not again now, but next time.
    """

    symbol: str
    timeframe: Timeframe
    opens: set[int] = field(default_factory=set)
    asked: list[tuple[int, int]] = field(default_factory=list)
    tried: list[tuple[int, int]] = field(default_factory=list)
    first_ms: int | None = None

    def missing(self, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """What is neither stored nor known to be absent of [start, end)."""
        if self.first_ms is not None:
            start_ms = max(start_ms, self.timeframe.open_of(self.first_ms))
        return missing_ranges(self.opens, [*self.asked, *self.tried], start_ms, end_ms, self.timeframe)

    def newest_bars_missing(self, end_ms: int, bars: int) -> list[tuple[int, int]]:
        """What to ask for so that the newest `bars` candles before `end_ms` are here.

        The window grows while bars without trades leave it short of candles, up to WINDOWS times `bars`.
        """
        for windows in range(1, WINDOWS + 1):
            start = end_ms - windows * bars * self.timeframe.ms
            missing = self.missing(start, end_ms)
            if missing:
                return missing
            if self.first_ms is not None and start <= self.first_ms:
                return []
            if sum(start <= open_ms < end_ms for open_ms in self.opens) >= bars:
                return []
        return []

    @property
    def oldest(self) -> int | None:
        return min(self.opens, default=None)
