"""What is missing of a series, as few and as small requests as that takes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from livermore_dagster.market.timeframe import Timeframe

__all__ = ["missing_ranges", "plan_pages"]

Range = tuple[int, int]
"""[from_ms, to_ms): opens, on the UTC grid."""


def missing_ranges(
    known: Iterable[int], asked: Iterable[Range], from_ms: int, to_ms: int, timeframe: Timeframe
) -> list[Range]:
    """Slots of the UTC grid in [from_ms, to_ms) without a known open and outside every asked range.

    `known` are opens in any order, off-grid ones too (such a row fills the slot it lies in). Adjacent slots
    are one range. `from_ms` is rounded up to the grid, `to_ms` down: only whole slots are missing.
    """
    step = timeframe.ms
    start, end = -(-from_ms // step) * step, to_ms - to_ms % step
    if start >= end:
        return []
    filled = sorted({timeframe.open_of(open_ms) for open_ms in known if start <= open_ms < end})
    taken = _merged(
        [(slot, slot + step) for slot in filled]
        # A partly asked slot is not known to be empty.
        + [(max(start, -(-a // step) * step), min(end, b - b % step)) for a, b in asked]
    )
    missing: list[Range] = []
    at = start
    for taken_from, taken_to in taken:
        if taken_from > at:
            missing.append((at, taken_from))
        at = max(at, taken_to)
    if at < end:
        missing.append((at, end))
    return missing


def plan_pages(missing: Sequence[Range], timeframe: Timeframe, rows: int) -> list[Range]:
    """The fewest requests of at most `rows` bars each that cover all missing ranges, oldest first.

    Ranges near each other share a request; each request starts and ends at a missing slot, so none lies
    inside what is known.
    """
    span = rows * timeframe.ms
    ordered = _merged(list(missing))
    ends = [to_ms for _, to_ms in ordered]
    pages: list[Range] = []
    at = ordered[0][0] if ordered else 0
    while True:
        index = bisect_left(ends, at + 1)
        if index == len(ordered):
            return pages
        start = max(at, ordered[index][0])
        limit = start + span
        end = start
        for range_from, range_to in ordered[index:]:
            if range_from >= limit:
                break
            end = min(limit, range_to)
        pages.append((start, end))
        at = end


def _merged(ranges: list[Range]) -> list[Range]:
    """Sorted, empty ones left out, overlapping and touching ones joined."""
    joined: list[Range] = []
    for range_from, range_to in sorted(r for r in ranges if r[1] > r[0]):
        if joined and range_from <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], range_to))
        else:
            joined.append((range_from, range_to))
    return joined
