"""The closer, rule by rule (DESIGN §3, Closing)."""

from __future__ import annotations

import time

import pytest

from livermore_dagster.market.candle import Candle, Origin, Rank
from livermore_dagster.market.closing import Closer, Reason
from livermore_dagster.market.timeframe import Timeframe
from tests.unit.market.closing_model import (
    GRACE,
    START,
    STEP,
    TF,
    WS,
    Frame,
    Row,
    bar,
    closer_of,
    finals,
    frame,
)


def test_the_flag_closes_at_once_and_the_clock_never() -> None:
    closer = closer_of(flagged=True)
    closer.on_frame(frame("A", 0, 50_000, closed=False), WS)
    closer.on_frame(frame("A", 1, 60_500, closed=False), WS)
    assert finals(closer.on_clock(START + STEP + 9_000)) == []
    effects = closer.on_frame(frame("A", 0, 61_700, close="11", closed=True), WS)
    assert [(w.candle.close, w.origin) for w in finals(effects)] == [("11", Origin.LIVE)]


def test_a_flag_that_does_not_come_is_asked_for_after_ten_seconds() -> None:
    closer = closer_of(flagged=True)
    closer.on_frame(frame("A", 0, 50_000, closed=False), WS)
    assert closer.on_clock(START + STEP + 9_999).questions == []
    (question,) = closer.on_clock(START + STEP + 10_000).questions
    assert (question.reason, question.from_ms, question.to_ms) == (Reason.UNPROVEN, START, START + STEP)
    # It came late after all: final, and nothing is open any more.
    assert len(finals(closer.on_frame(frame("A", 0, 71_000, closed=True), WS))) == 1
    assert closer.open_questions() == []


def test_a_successor_closes_with_the_closed_candles_own_values() -> None:
    closer = closer_of()
    closer.on_frame(frame("A", 0, 30_000, close="11"), WS)
    effects = closer.on_frame(frame("A", 1, 60_100, close="99"), WS)
    (close,) = finals(effects)
    assert (close.candle, close.stamp_ms) == (bar(0, "11"), START + 30_000)
    assert close.proven_ms == START + 60_100


def test_the_clock_closes_after_the_grace_while_the_stream_flows() -> None:
    closer = closer_of(("A", "B"))
    closer.on_frame(frame("A", 0, 30_000), WS)
    closer.on_frame(frame("B", 1, 60_200), WS)
    assert finals(closer.on_clock(START + STEP + GRACE - 1)) == []
    (close,) = finals(closer.on_clock(START + STEP + GRACE))
    assert (close.symbol, close.proven_ms) == ("A", START + STEP + GRACE)


def test_a_stall_under_live_heartbeats_closes_nothing() -> None:
    closer = closer_of(("A", "B"))
    for symbol in ("A", "B"):
        closer.on_frame(frame(symbol, 0, 30_000), WS)
    effects = [closer.on_clock(START + at) for at in range(31_000, 90_000, 1_000)]
    assert [finals(one) for one in effects if finals(one)] == []
    asked = [q for one in effects for q in one.questions if q.from_ms == START]
    assert [(q.symbol, q.reason) for q in asked] == [("A", Reason.STALL), ("B", Reason.STALL)]


def test_most_symbols_silent_is_a_stall_and_names_the_connection() -> None:
    symbols = ("A", "B", "C", "D")
    closer = closer_of(symbols)
    for symbol in symbols:
        closer.on_frame(frame(symbol, 0, 59_000), WS)
        closer.on_frame(frame(symbol, 1, 61_000), WS)
    closer.on_clock(START + 62_000)
    effects = [closer.on_clock(START + at) for at in range(63_000, 240_000, 1_000)]
    silent = [q for one in effects for q in one.questions if q.from_ms >= START + 2 * STEP]
    assert {q.reason for q in silent} == {Reason.STALL}
    assert {name for one in effects for name in one.stalled} == {WS}


def test_a_connection_that_broke_is_not_said_to_stand_still() -> None:
    closer = closer_of(("A", "B", "C"))
    for symbol in "ABC":
        closer.on_frame(frame(symbol, 0, 30_000), WS)
    closer.on_break(WS, "dropped")
    effects = [closer.on_clock(START + at) for at in range(STEP, 3 * STEP, 1_000)]
    assert any(one.questions for one in effects)
    assert not any(one.stalled for one in effects)


def test_a_break_leaves_the_held_candle_to_rest() -> None:
    closer = closer_of()
    closer.on_frame(frame("A", 0, 30_000), WS)
    closer.on_break(WS, "dropped")
    assert finals(closer.on_frame(frame("A", 1, 60_100), WS)) == []
    (question,) = closer.on_clock(START + STEP + GRACE).questions
    assert (question.reason, question.from_ms) == (Reason.UNPROVEN, START)
    assert closer.settled_until() == START + STEP - 1
    effects = closer.on_rest("A", TF, START, START + STEP, [Row(bar(0, "12"))], START + STEP + 30_000)
    (close,) = finals(effects)
    assert (close.candle.close, close.rank, close.origin) == ("12", Rank.SETTLED, Origin.REPAIR)
    assert closer.settled_until() == START + STEP + GRACE


def test_an_update_after_the_break_proves_again() -> None:
    closer = closer_of()
    closer.on_frame(frame("A", 0, 10_000), WS)
    closer.on_break(WS, "sequence gap")
    closer.on_frame(frame("A", 0, 30_000, close="11"), WS)
    (close,) = finals(closer.on_frame(frame("A", 1, 60_100), WS))
    assert close.candle.close == "11"


def test_silence_is_asked_once_in_rank_order_and_within_ten_seconds() -> None:
    closer = closer_of(("B", "A", "C"))
    effects = [closer.on_clock(START + at) for at in range(0, STEP + 10_001, 500)]
    asked = [question for one in effects for question in one.questions]
    assert [(q.symbol, q.rank, q.reason) for q in asked] == [
        ("B", 0, Reason.SILENT), ("A", 1, Reason.SILENT), ("C", 2, Reason.SILENT),
    ]  # fmt: skip


def test_silence_after_a_close_by_the_clock_asks_for_that_bar_too() -> None:
    closer = closer_of(("A", "B"))
    closer.on_frame(frame("A", 0, 30_000), WS)
    for bucket in (1, 2):
        closer.on_frame(frame("B", bucket, bucket * STEP + 500), WS)
        closer.on_clock(START + bucket * STEP + GRACE)
    questions = closer.on_clock(START + 2 * STEP + 5_000).questions
    assert [(q.symbol, q.from_ms, q.to_ms) for q in questions] == [("A", START, START + 2 * STEP)]


def test_an_early_rest_row_is_final_a_later_one_settled_an_open_one_nothing() -> None:
    closer = closer_of()
    closer.on_clock(START + STEP + 6_000)
    rows = [Row(bar(0)), Row(bar(1))]
    effects = closer.on_rest("A", TF, START, START + 2 * STEP, rows, START + STEP + 29_999)
    assert [(w.candle.open_ms, w.rank) for w in effects.writes] == [(START, Rank.FINAL)]
    again = closer.on_rest("A", TF, START, START + STEP, rows, START + STEP + 30_000)
    assert [(w.candle.open_ms, w.rank) for w in again.writes] == [(START, Rank.SETTLED)]


def test_absence_takes_time_and_where_the_stream_had_shown_the_bar_much_more() -> None:
    closer = closer_of()
    closer.on_frame(frame("A", 0, 30_000), WS)
    closer.on_break(WS, "dropped")
    closer.on_clock(START + 2 * STEP + 6_000)
    later = [Row(bar(2))]
    hasty = closer.on_rest("A", TF, START, START + 2 * STEP, later, START + 2 * STEP + 29_000)
    assert hasty.absent == [("A", TF, START, START + STEP)]
    early = closer.on_rest("A", TF, START, START + 2 * STEP, later, START + 2 * STEP + 30_000)
    assert early.absent == [("A", TF, START, START + STEP), ("A", TF, START + STEP, START + 2 * STEP)] or (
        early.absent == [("A", TF, START, START + 2 * STEP)]
    )
    shown = closer_of()
    shown.on_frame(frame("A", 0, 30_000), WS)
    shown.on_break(WS, "dropped")
    shown.on_clock(START + STEP + 6_000)
    assert shown.on_rest("A", TF, START, START + STEP, [Row(bar(1))], START + STEP + 6_000).absent == []
    assert [q.from_ms for q in shown.open_questions()] == [START]


def test_what_is_final_is_never_absent_whatever_a_later_page_lacks() -> None:
    closer = closer_of()
    closer.on_clock(START + STEP + 6_000)
    closer.on_rest("A", TF, START, START + STEP, [Row(bar(0))], START + STEP + 6_000)
    assert closer.on_rest("A", TF, START, START + STEP, [Row(bar(1))], START + 3 * STEP).absent == []


def test_giving_up_lets_the_series_settle() -> None:
    closer = closer_of()
    closer.on_clock(START + STEP + 6_000)
    assert closer.settled_until() == START + STEP - 1
    closer.on_given_up("A", TF, START, START + STEP)
    assert closer.settled_until() == START + STEP + 6_000
    assert closer.series_settled_until("A", TF) == START + STEP + 6_000


def test_a_newer_update_of_a_final_bucket_is_a_revision_an_older_one_nothing() -> None:
    closer = closer_of()
    closer.on_frame(frame("A", 0, 30_000, close="11"), WS)
    closer.on_frame(frame("A", 1, 60_100), WS)
    assert closer.on_frame(frame("A", 0, 20_000, close="8"), WS).writes == []
    assert closer.on_frame(frame("A", 0, 30_000, close="11"), WS).writes == []
    (revision,) = finals(closer.on_frame(frame("A", 0, 60_400, close="13"), WS))
    assert (revision.rank, revision.stamp_ms, revision.candle.close) == (Rank.FINAL, START + 60_400, "13")
    assert closer.stats.revisions == 1


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_snapshot_primes_and_what_it_proves_closed_is_late(newest_first: bool) -> None:
    closer = Closer(("A",), (TF,), flagged=False, grace_ms=GRACE)
    rows = [frame("A", bucket, 30_000, snapshot=True) for bucket in (-3, -1, 0)]
    effects = closer.on_frames(rows[::-1] if newest_first else rows, WS)
    assert sorted((w.candle.open_ms, w.origin) for w in finals(effects)) == [
        (START - 3 * STEP, Origin.LATE), (START - STEP, Origin.LATE),
    ]  # fmt: skip
    assert [w.candle.open_ms for w in effects.writes if w.rank is Rank.OPEN] == [START]
    # Primed only: without an update of its own the open bar is not proven by what follows.
    assert finals(closer.on_frame(frame("A", 1, 60_100), WS)) == []


def test_an_older_snapshot_does_not_undo_an_update() -> None:
    closer = closer_of()
    closer.on_frame(frame("A", 0, 30_000, close="11", volume="5"), WS)
    assert closer.on_frame(frame("A", 0, 30_500, close="10", volume="4", snapshot=True), WS).writes == []
    (close,) = finals(closer.on_frame(frame("A", 1, 60_100), WS))
    assert close.candle.close == "11"


def test_off_grid_bars_close_at_their_own_end() -> None:
    """A 4h bar that opens at 02:00 after an outage, then one at 06:00, as a recorded series has them."""
    hour, step = 3_600_000, Timeframe.H4.ms
    day = START - START % Timeframe.D1.ms
    closer = Closer(("A", "B"), (Timeframe.H4,), flagged=False, grace_ms=GRACE)
    closer.on_clock(day)

    def off(symbol: str, open_ms: int, at: int) -> Frame:
        return Frame(symbol, Timeframe.H4, Candle(open_ms, "1", "1", "1", "1", "1"), at)

    closer.on_frame(off("A", day, day + hour), WS)
    first = finals(closer.on_frame(off("A", day + 2 * hour, day + 2 * hour), WS))
    assert [w.candle.open_ms for w in first] == [day]
    closer.on_frame(off("B", day + step, day + step + 1), WS)
    assert [w.symbol for w in finals(closer.on_clock(day + step + 60_000))] == []
    closer.on_frame(off("B", day + step, day + 6 * hour + 1), WS)
    second = finals(closer.on_clock(day + 6 * hour + GRACE))
    assert [(w.symbol, w.candle.open_ms) for w in second] == [("A", day + 2 * hour)]


@pytest.mark.parametrize("flagged", [False, True])
@pytest.mark.parametrize("snapshot", [False, True])
def test_a_candle_cut_by_an_outage_is_asked_for_beside_the_off_grid_one(
    flagged: bool, snapshot: bool
) -> None:
    """The exchange goes down in the midst of a candle, and begins one of its own within the same slot."""
    closer = closer_of(flagged=flagged)
    closer.on_frame(frame("A", 0, 10_000, closed=False if flagged else None), WS)
    closer.on_break(WS, "lost")

    def off(at: int, *, closed: bool = False) -> Frame:
        candle = Candle(START + 40_000, "1", "1", "1", "1", "1")
        return Frame("A", TF, candle, START + at, snapshot and not closed, closed if flagged else None)

    effects = closer.on_frame(off(45_000), WS)
    assert [(q.from_ms, q.to_ms, q.reason) for q in effects.questions] == [
        (START, START + STEP, Reason.UNPROVEN)
    ]
    closer.on_frame(off(101_000, closed=True), WS)
    closer.on_frame(frame("A", 2, 121_000), WS)
    closer.on_clock(START + 190_000)
    assert closer.settled_until() < START + STEP
    rows = [Row(bar(0)), Row(Candle(START + 40_000, "1", "1", "1", "1", "1"))]
    answer = closer.on_rest("A", TF, START, START + STEP, rows, START + 125_000)
    assert START in [write.candle.open_ms for write in finals(answer)]
    assert closer.settled_until() >= START + STEP - 1


def test_no_symbol_holds_back_another() -> None:
    closer = closer_of(("A", "B"))
    for at in range(0, 5 * STEP, 10_000):
        closer.on_frame(frame("A", at // STEP, at), WS)
        closer.on_clock(START + at)
    assert closer.stats.by_successor + closer.stats.by_clock == 4
    assert closer.settled_until() == START + STEP - 1  # B waits for REST
    assert closer.series_settled_until("A", TF) >= START + 4 * STEP


def test_memory_stays_bounded_when_rest_never_answers() -> None:
    closer = closer_of(("A",))
    for bucket in range(0, 4_000, 2):
        closer.on_frame(frame("A", bucket, bucket * STEP + 500), WS)
        closer.on_clock(START + bucket * STEP + 20_000)
    assert len(closer.open_questions()) <= 33


def test_twenty_thousand_frames_a_second() -> None:
    symbols = [f"S{number}" for number in range(500)]
    closer = closer_of(symbols)
    frames = [
        frame(symbol, at // STEP, at + number % 900, volume=str(1 + at))
        for at in range(0, 80_000, 2_000)
        for number, symbol in enumerate(symbols)
    ]
    best = float("inf")
    for _ in range(2):
        closer = closer_of(symbols)
        started = time.process_time()
        for start in range(0, len(frames), 200):
            burst = frames[start : start + 200]
            closer.on_frames(burst, WS)
            closer.on_clock(burst[-1].event_ms)
        best = min(best, time.process_time() - started)
    assert len(frames) / best > 20_000


def test_a_symbol_that_trades_unheard_for_two_buckets_is_deaf() -> None:
    closer = closer_of()
    told: list[set[str]] = []
    for bucket in range(4):
        closer.on_clock(START + (bucket + 1) * STEP + 10_000)
        rows = [Row(bar(bucket), 1)]
        start = START + bucket * STEP
        told.append(closer.on_rest("A", TF, start, start + STEP, rows, start + STEP + 10_000).deaf)
    assert told == [set(), {"A"}, set(), {"A"}]


def test_buckets_of_before_its_first_frame_make_no_symbol_deaf() -> None:
    """Monitored two buckets before its subscription was through; REST answers after its first frame."""
    closer = closer_of()
    for bucket in range(2):
        closer.on_clock(START + (bucket + 1) * STEP + 10_000)
    closer.on_frame(frame("A", 3, 3 * STEP + 500), WS)
    rows = [Row(bar(0), 1), Row(bar(1), 1)]
    effects = closer.on_rest("A", TF, START, START + 2 * STEP, rows, START + 3 * STEP + 10_000)
    assert (effects.deaf, len(effects.writes)) == (set(), 2)


def test_fillers_make_no_symbol_deaf() -> None:
    closer = closer_of()
    for bucket in range(4):
        end = START + (bucket + 1) * STEP
        closer.on_clock(end + 10_000)
        rows = [Row(bar(bucket, volume="0"), 0)]
        assert closer.on_rest("A", TF, end - STEP, end, rows, end + 10_000).deaf == set()


@pytest.mark.parametrize(("fills_empty", "absent"), [(False, True), (True, False)])
def test_where_rest_fills_empty_buckets_a_missing_row_is_late(*, fills_empty: bool, absent: bool) -> None:
    closer = Closer(("A",), (TF,), flagged=True, fills_empty=fills_empty, grace_ms=GRACE)
    closer.on_clock(START)
    closer.on_clock(START + STEP + 10_000)
    rows = [Row(bar(1), 1)]
    hasty = closer.on_rest("A", TF, START, START + STEP, rows, START + STEP + 10_000)
    assert hasty.absent == []
    early = closer.on_rest("A", TF, START, START + STEP, rows, START + STEP + 30_000)
    assert bool(early.absent) is absent
    later = closer.on_rest("A", TF, START, START + STEP, rows, START + STEP + 60_000)
    assert later.absent == [("A", TF, START, START + STEP)]
