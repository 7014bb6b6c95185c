"""The closer where one connection follows another, and where one begins amid a candle."""

from __future__ import annotations

import pytest

from livermore_dagster.market.closing import Reason
from tests.unit.market.closing_model import GRACE, START, STEP, WS, closer_of, finals, frame


@pytest.mark.parametrize("first", ["old", "new"])
def test_what_both_connections_of_a_change_told_is_proven_by_the_one_that_stays(first: str) -> None:
    closer = closer_of(("A", "B"))
    closer.on_frame(frame("A", 0, 100), "old")
    closer.on_frame(frame("B", 0, 150), "new")
    second = "new" if first == "old" else "old"
    closer.on_frame(frame("A", 0, 500, volume="2"), first)
    # Each stamps it when it sends it.
    closer.on_frame(frame("A", 0, 501, volume="2"), second)
    closer.on_break("old", "stopped")
    closer.on_frame(frame("B", 1, STEP + 10), "new")
    effects = closer.on_clock(START + STEP + GRACE)
    assert [one.symbol for one in finals(effects)] == ["A"]
    assert (effects.questions, closer.stats.unproven) == ([], 0)


def test_what_a_connection_found_half_done_is_asked_for_and_not_counted_as_lost() -> None:
    closer = closer_of(("A", "B", "C"))
    for symbol in ("A", "B"):
        closer.on_frame(frame(symbol, 0, 500, snapshot=True), WS)
    closer.on_frame(frame("A", 1, STEP + 10), WS)
    closer.on_frame(frame("C", 1, STEP + 20), WS)
    effects = closer.on_clock(START + STEP + GRACE)
    assert {one.symbol for one in effects.questions if one.reason is Reason.UNPROVEN} == {"A", "B"}
    assert (closer.stats.unproven, closer.stats.primed) == (2, 2)


def test_what_a_snapshot_alone_told_and_its_successor_proved_is_not_counted_as_half_done() -> None:
    closer = closer_of()
    closer.on_frame(frame("A", 0, 500, snapshot=True), WS)
    closer.on_frame(frame("A", 1, STEP + 10), WS)
    effects = closer.on_frame(frame("A", 0, STEP + 20, volume="3"), WS)
    assert [one.candle.volume for one in finals(effects)] == ["3"]
    closer.on_clock(START + STEP + GRACE)
    assert (closer.stats.unproven, closer.stats.primed) == (0, 0)


def test_what_the_staying_connection_tells_after_the_other_has_ended_is_proven_by_it() -> None:
    closer = closer_of()
    for connection in ("old", "new"):
        closer.on_frame(frame("A", 0, 100), connection)
    closer.on_frame(frame("A", 0, 500, volume="2"), "old")
    closer.on_break("old", "renewed")
    closer.on_frame(frame("A", 0, 500, volume="2"), "new")
    effects = closer.on_frame(frame("A", 1, STEP + 10), "new")
    assert [one.candle.volume for one in finals(effects)] == ["2"]
    assert (closer.on_clock(START + STEP + GRACE).questions, closer.stats.unproven) == ([], 0)


def test_what_a_younger_connection_told_again_yields_to_nothing_older() -> None:
    closer = closer_of(("A", "B"))
    closer.on_frame(frame("A", 0, 100), "old")
    closer.on_frame(frame("B", 0, 150), "new")
    closer.on_frame(frame("A", 0, 500, volume="2"), "old")
    # Its server's clock is a little behind.
    closer.on_frame(frame("A", 0, 400, volume="2"), "new")
    closer.on_frame(frame("A", 0, 450), "old")
    effects = closer.on_frame(frame("A", 1, STEP + 10), "new")
    assert [one.candle.volume for one in finals(effects)] == ["2"]
