"""What a reply's count says of others on this address."""

from __future__ import annotations

import pytest

from livermore_dagster.exchanges.budget import Settlement


@pytest.mark.parametrize(
    ("foreign", "capacity", "window_ms", "took_ms", "told"),
    [
        (4, 8, 1_000, 30, True),
        # A busy machine reads it late: those were ours, and have left our window meanwhile.
        (2, 8, 1_000, 400, False),
        (8, 8, 1_000, 1_500, False),
        # A long window forgets nothing in that time.
        (2_000, 4_800, 60_000, 1_500, True),
        (200, 4_800, 60_000, 30, False),
        (0, 0, 0, 30, False),
    ],
)
def test_others_are_told_of_by_what_cannot_have_been_ours(
    foreign: int, capacity: int, window_ms: int, took_ms: float, told: bool
) -> None:
    assert Settlement(0, foreign, capacity, window_ms).tells_others(took_ms) is told
