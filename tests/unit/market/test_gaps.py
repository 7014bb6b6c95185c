"""Missing ranges, pages of requests, and due timeframes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.market.boundary import BOUNDARY_MS, boundary_of, due
from livermore_dagster.market.gaps import missing_ranges, plan_pages
from livermore_dagster.market.timeframe import BOUNDARY_TIMEFRAMES, Timeframe

TF = Timeframe.M5
STEP = TF.ms

slots = st.sets(st.integers(0, 60))
ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), max_size=4).map(
    lambda pairs: [(a * STEP, (a + n) * STEP) for a, n in pairs]
)


def slots_of(found: list[tuple[int, int]]) -> set[int]:
    return {at for a, b in found for at in range(a, b, STEP)}


@given(slots, ranges, st.integers(0, 3 * STEP), st.integers(0, 65 * STEP))
def test_missing_is_what_is_neither_known_nor_asked(
    known: set[int], asked: list[tuple[int, int]], start: int, end: int
) -> None:
    found = missing_ranges([slot * STEP for slot in known], asked, start, end, TF)
    whole = {at for at in range(0, 70 * STEP, STEP) if at >= start and at + STEP <= end}
    assert slots_of(found) == whole - {slot * STEP for slot in known} - slots_of(asked)
    # Minimal: sorted, apart, not empty.
    assert all(a < b for a, b in found)
    assert all(first[1] < second[0] for first, second in pairwise(found))


def test_an_off_grid_row_fills_the_slot_it_lies_in() -> None:
    hour = 3_600_000
    found = missing_ranges([2 * hour, 6 * hour], [], 0, 16 * hour, Timeframe.H4)
    assert found == [(8 * hour, 16 * hour)]


@given(ranges, st.integers(1, 30))
def test_pages_cover_what_is_missing_and_begin_and_end_at_it(
    missing: list[tuple[int, int]], rows: int
) -> None:
    pages = plan_pages(missing, TF, rows)
    wanted = slots_of(missing)
    assert wanted <= slots_of(pages)
    for a, b in pages:
        assert (b - a) // STEP <= rows
        assert a in wanted
        assert b - STEP in wanted
    assert all(first[1] <= second[0] for first, second in pairwise(pages))
    # Never more than one request for each `rows` slots begun, nor than there are slots.
    assert len(pages) <= len(wanted)


def test_near_ranges_share_a_request() -> None:
    missing = [(0, STEP), (5 * STEP, 6 * STEP), (50 * STEP, 51 * STEP)]
    assert plan_pages(missing, TF, 10) == [(0, 6 * STEP), (50 * STEP, 51 * STEP)]
    assert plan_pages([], TF, 10) == []


@given(st.integers(0, 400), st.integers(1, 200))
def test_due_is_the_union_over_the_backlog(last: int, behind: int) -> None:
    newest = last + behind
    found = due(last * BOUNDARY_MS, newest * BOUNDARY_MS)
    each = {
        tf
        for number in range(last + 1, newest + 1)
        for tf in BOUNDARY_TIMEFRAMES
        if number * BOUNDARY_MS % tf.ms == 0
    }
    assert set(found) == each


def test_without_a_handled_boundary_only_the_newest_counts() -> None:
    hour = 3_600_000
    assert due(None, 13 * hour) == (Timeframe.M15, Timeframe.H1)
    assert due(None, 24 * hour) == BOUNDARY_TIMEFRAMES
    assert (boundary_of(hour + 5), boundary_of(hour + BOUNDARY_MS)) == (hour, hour + BOUNDARY_MS)
