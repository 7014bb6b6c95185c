"""The closer, where the times that frames tell cannot be taken as they are (DESIGN §3, Closing)."""

from __future__ import annotations

import pytest

from livermore_dagster.market.candle import Rank
from livermore_dagster.market.closing import Reason
from tests.unit.market.closing_model import (
    GRACE,
    START,
    STEP,
    WS,
    closer_of,
    finals,
    frame,
)


def test_a_wait_that_was_long_for_a_fast_market_is_not_kept_when_that_was_none() -> None:
    closer = closer_of()
    closer.speed = 5.0
    assert closer.on_clock(START + STEP + 6_000).questions == []
    closer.speed = 1.0
    assert [q.from_ms for q in closer.on_clock(START + STEP + 6_100).questions] == [START]


def test_a_stream_that_paused_and_went_on_proves_nothing_of_what_it_held() -> None:
    """Heartbeats and sequence numbers go on, and all symbols fall silent for 20 s, past a candle's end."""
    closer = closer_of(("A", "B", "C"))
    for at in range(0, 50_000, 1_000):
        closer.on_frames([frame(symbol, 0, at, volume=str(at)) for symbol in "ABC"], WS)
    effects = closer.on_frames([frame(symbol, 1, 70_000) for symbol in "ABC"], WS)
    assert finals(effects) == []
    questions = closer.on_clock(START + 70_000).questions
    assert [(q.symbol, q.from_ms, q.reason) for q in questions] == [
        (symbol, START, Reason.UNPROVEN) for symbol in "ABC"
    ]
    assert closer.stats.pauses == 1


def test_a_connection_that_is_always_quiet_has_not_paused() -> None:
    closer = closer_of()
    for bucket in range(60):
        closer.on_frame(frame("A", bucket, bucket * STEP + 20_000 + bucket % 7 * 3_000), WS)
    assert (closer.stats.by_successor, closer.stats.pauses) == (59, 0)


@pytest.mark.parametrize("flagged", [True, False])
@pytest.mark.parametrize("snapshot", [True, False])
@pytest.mark.parametrize(
    ("buckets", "sent_too"), [(2, False), (10**6, False), (10**6, True), (-2_000, False)]
)
def test_a_frame_that_opens_where_no_candle_can_be_hides_no_other(
    *, flagged: bool, snapshot: bool, buckets: int, sent_too: bool
) -> None:
    """By its own time or by the exchange's clock; what it may have held is asked of REST, and no more is."""
    closer = closer_of(("A", "B"), flagged=flagged)
    flag = False if flagged else None
    for second in range(1, 40):
        for symbol in "AB":
            closer.on_frame(frame(symbol, 0, second * 1_000, closed=flag), WS)
    sent = buckets * STEP if sent_too else 40_000
    wild = closer.on_frame(frame("A", buckets, sent, closed=flag, snapshot=snapshot), WS)
    assert not any(write.candle.open_ms != START for write in wild.writes if write.rank == Rank.OPEN)
    assert len(wild.disbelieved) == (buckets > 0 or not snapshot)
    closes, asked = [], []
    for second in range(41, 400):
        effects = [closer.on_clock(START + second * 1_000)]
        for symbol in "AB":
            bucket = second * 1_000 // STEP
            effects.append(closer.on_frame(frame(symbol, bucket, second * 1_000, closed=flag), WS))
            if flagged and second * 1_000 % STEP == 2_000:
                effects.append(closer.on_frame(frame(symbol, bucket - 1, second * 1_000, closed=True), WS))
        closes += [(w.symbol, w.candle.open_ms) for one in effects for w in finals(one)]
        asked += [question for one in effects for question in one.questions]
    assert asked == []
    assert sorted(closes) == [(symbol, START + n * STEP) for symbol in "AB" for n in range(6)]


def test_what_a_disbelieved_frame_may_have_held_is_asked_of_rest() -> None:
    closer = closer_of(("A", "B"))
    for symbol in "AB":
        closer.on_frame(frame(symbol, 0, 30_000), WS)
    closer.on_frame(frame("A", 40, 59_000, close="11"), WS)
    effects = closer.on_frames([frame("B", 1, 60_100), frame("A", 1, 60_200)], WS)
    assert [write.symbol for write in finals(effects)] == ["B"]
    asked = [*effects.questions, *closer.on_clock(START + STEP + GRACE).questions]
    assert [(q.symbol, q.from_ms, q.reason) for q in asked] == [("A", START, Reason.UNPROVEN)]


def test_a_clock_that_stood_still_disbelieves_no_frame_of_the_time_since() -> None:
    closer = closer_of()
    assert closer.on_frame(frame("A", 30, 30 * STEP + 1_000), WS).disbelieved == []


def test_a_stream_whose_time_steps_back_proves_nothing_of_what_it_held() -> None:
    """Three seconds: what is newer is stamped older, and would be taken for a repetition until the end."""
    closer = closer_of()
    closer.on_frame(frame("A", 0, 58_000, close="10"), WS)
    closer.on_frame(frame("A", 0, 55_500, close="11", volume="2"), WS)
    closer.on_frame(frame("A", 0, 56_000, close="12", volume="3"), WS)
    assert finals(closer.on_frame(frame("A", 1, 57_500), WS)) == []
    (question,) = closer.on_clock(START + STEP + GRACE).questions
    assert (question.from_ms, question.reason) == (START, Reason.UNPROVEN)
    assert closer.stats.steps_back == 1
    closer.on_frame(frame("A", 2, 2 * STEP + 500), WS)
    assert closer.stats.by_successor == 1


def test_old_frames_that_come_again_are_no_step_back() -> None:
    closer = closer_of()
    for at in range(10_000, 58_000, 4_000):
        closer.on_frame(frame("A", 0, at, volume=str(at)), WS)
        closer.on_frames([frame("A", 0, 5_000)] * 2, WS)
    assert len(finals(closer.on_frame(frame("A", 1, 60_100), WS))) == 1
    assert closer.stats.steps_back == 0
