"""The exchange clock: never back, never by one wild frame, the slowest living connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.market.exchange_clock import ExchangeClock

T = 1_760_000_000_000


def test_it_is_the_minimum_over_connections_that_live() -> None:
    clock = ExchangeClock()
    assert clock.now(0.0) is None
    clock.observe("a", T, 0.0)
    clock.observe("b", T + 5_000, 0.5)
    assert clock.now(1.0) == T
    # `a` was last heard 3 s ago: `b` alone tells the time.
    clock.observe("b", T + 6_000, 3.0)
    assert clock.now(3.1) == T + 6_000
    # A slower connection joins: the clock waits for it, and does not go back.
    clock.observe("a", T + 4_000, 3.2)
    assert clock.now(3.2) == T + 6_000


def test_a_jump_counts_when_a_second_later_frame_confirms_it() -> None:
    clock = ExchangeClock()
    clock.observe("a", T, 0.0)
    clock.observe("a", T + 3_600_000, 0.1)
    assert (clock.now(0.1), clock.refused) == (T, 1)
    # The same frame again is no second witness, and an ordinary one withdraws the first.
    clock.observe("a", T + 3_600_000, 0.2)
    assert clock.now(0.2) == T
    clock.observe("a", T + 300, 0.3)
    assert clock.now(0.3) == T + 300
    clock.observe("a", T + 61_000, 0.4)
    clock.observe("a", T + 61_500, 0.5)
    assert (clock.now(0.5), clock.refused) == (T + 61_500, 2)


def test_a_new_connection_cannot_jump_with_its_first_frame() -> None:
    clock = ExchangeClock()
    clock.observe("a", T, 0.0)
    clock.drop("a")
    clock.observe("b", T + 900_000, 0.1)
    assert clock.now(0.1) == T
    clock.observe("b", T + 900_100, 0.2)
    assert clock.now(0.2) == T + 900_100


def test_the_very_first_frame_counts_when_a_second_one_confirms_it() -> None:
    clock = ExchangeClock()
    clock.observe("a", T + 31_536_000_000, 0.0)
    clock.observe("a", T + 31_536_000_000, 0.1)
    assert clock.now(0.1) is None
    assert not clock.alive(0.1)
    # A year earlier: the first was wild, and this one is on trial now.
    clock.observe("b", T, 0.2)
    assert (clock.now(0.2), clock.refused) == (None, 1)
    clock.observe("a", T + 250, 0.3)
    assert clock.now(0.3) == T
    clock.observe("b", T + 300, 0.4)
    assert clock.now(0.4) == T + 250


def test_rest_confirms_the_first_frame_that_is_near_it() -> None:
    clock = ExchangeClock()
    clock.observe_rest(T)
    clock.observe("a", T + 59_000, 0.0)
    assert clock.now(0.0) == T + 59_000
    wild = ExchangeClock()
    wild.observe("a", T + 61_000, 0.0)
    wild.observe_rest(T)
    assert wild.now(0.1) == T
    wild.observe("a", T + 61_001, 0.2)
    assert (wild.now(0.2), wild.refused) == (T, 1)


def test_rest_tells_the_time_while_no_connection_lives() -> None:
    clock = ExchangeClock()
    clock.observe("a", T - 100, 0.0)
    clock.observe("a", T, 0.0)
    clock.observe_rest(T + 20_000)
    assert clock.now(1.0) == T
    assert not clock.alive(10.0)
    assert clock.now(10.0) == T + 20_000


def test_a_fast_market_moves_far_between_two_frames() -> None:
    """At 120 times real speed a heartbeat each second moves two minutes."""
    clock = ExchangeClock()
    for second in range(30):
        clock.observe("a", T + second * 120_000, float(second))
    assert clock.now(29.0) == T + 29 * 120_000
    assert clock.speed > 100
    seen = clock.refused
    for second in range(30, 60):
        clock.observe("a", T + second * 120_000, float(second))
    assert clock.refused == seen


def test_a_fast_market_is_known_within_about_a_second() -> None:
    """At 60 times real speed a frame each 30 ms; the machine then halts for 1.2 s, as at a start it may."""
    clock = ExchangeClock()
    for number in range(40):
        clock.observe("a", T + number * 1_800, number * 0.03)
    assert clock.speed == pytest.approx(60, rel=0.02)
    clock.observe("a", T + 40 * 1_800 + 72_000, 2.4)
    assert (clock.refused, clock.now(2.4)) == (0, T + 40 * 1_800 + 72_000)


def test_a_burst_after_a_stall_is_no_faster_market() -> None:
    """Frames of 25 s come at once; the next ones are in time again."""
    clock = ExchangeClock()
    for second in range(31):
        clock.observe("a", T + second * 1_000, float(second))
    for second in range(31, 56):
        clock.observe("a", T + second * 1_000, 55.0)
    for second in range(56, 90):
        clock.observe("a", T + second * 1_000, float(second))
        assert clock.speed == 1.0


def test_frames_that_come_late_from_the_first_one_on_are_no_faster_market() -> None:
    clock = ExchangeClock()
    for second in range(60):
        clock.observe("a", T + second * 1_000, max(25.0, float(second)))
        assert clock.speed == 1.0


@pytest.mark.parametrize("speed", [1, 20])
def test_hours_of_sleep_that_the_monotonic_clock_did_not_count_are_no_faster_market(speed: int) -> None:
    clock, slept_ms = ExchangeClock(), 8 * 3_600_000 * speed
    for tenth in range(600):
        clock.observe("a", T + tenth * 100 * speed, tenth / 10)
    before = clock.speed
    assert before == speed
    clock.drop("a")
    for tenth in range(600, 900):
        clock.observe("b", T + slept_ms + tenth * 100 * speed, tenth / 10)
        assert clock.speed == before
    assert clock.now(89.9) == T + slept_ms + 899 * 100 * speed


@pytest.mark.parametrize("others", [True, False])
def test_a_snapshot_of_one_time_holds_the_clock_back_for_no_longer_than_it_is_a_sign_of_life(
    others: bool,
) -> None:
    """After a sleep: 100 rows that all carry one time confirm nothing, and nothing follows them."""
    clock, woke = ExchangeClock(), T + 8 * 3_600_000
    clock.observe("a", T, 0.0)
    clock.observe("a", T + 1_000, 1.0)
    clock.drop("a")
    for _ in range(100):
        clock.observe("quiet", woke, 2.0)
    if others:
        clock.observe("b", woke, 2.0)
        clock.observe("b", woke + 1_000, 3.0)
        clock.observe("b", woke + 3_000, 5.0)
    else:
        clock.observe_rest(woke - 5_000)
    assert clock.now(5.0) == T + 1_000
    assert clock.now(5.1) == (woke + 3_000 if others else woke - 5_000)
    # A heartbeat or a ticker is the second frame.
    clock.observe("quiet", woke + 10_000, 12.0)
    assert clock.now(12.0) == woke + 10_000


@given(
    st.sampled_from([1, 20, 120]),
    st.lists(st.tuples(st.integers(7, 40), st.integers(1, 60)), max_size=6),
    st.floats(0.1, 1.0),
)
def test_nothing_that_comes_late_makes_the_market_seem_faster_than_it_is(
    speed: int, stalls: list[tuple[int, int]], beat_s: float
) -> None:
    """The stream flows for some seconds, stands still for some, gives all that was held up at once …"""
    clock, at = ExchangeClock(max_jump_ms=10**12), 0.0
    resumes: list[tuple[float, float]] = []
    for flows_s, stands_s in stalls:
        resumes.append((at + flows_s, at + flows_s + stands_s))
        at += flows_s + stands_s
    seen = 0.0
    for number in range(int((at + 20) / beat_s)):
        sent = number * beat_s
        came = next((until for since, until in resumes if since <= sent < until), sent)
        clock.observe("a", T + int(sent * speed * 1000), came)
        assert clock.speed <= max(1.0, speed * 1.05)
        seen = clock.speed
    assert seen >= speed * 0.95, "and it is known again soon"


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(-200_000, 400_000), st.floats(0, 2)), max_size=40)
)
def test_it_never_runs_back(frames: list[tuple[str, int, float]]) -> None:
    clock = ExchangeClock()
    at, last = 0.0, None
    for name, offset, pause in frames:
        at += pause
        clock.observe(name, T + offset, at)
        now = clock.now(at)
        assert last is None or (now is not None and now >= last)
        last = now
