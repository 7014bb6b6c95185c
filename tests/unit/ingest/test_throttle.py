"""Like troubles are told once in ten seconds, with their number."""

from __future__ import annotations

from livermore_dagster.clock import SystemClock
from livermore_dagster.ingest.throttle import Throttle


class Hand(SystemClock):
    at = 100.0

    def monotonic(self) -> float:
        return self.at


def test_a_flood_is_told_as_its_first_and_its_number() -> None:
    told: list[tuple[str, str, str]] = []
    clock = Hand()
    throttle = Throttle(lambda *words: told.append(words), clock)
    for number in range(500):
        throttle("error_frame", "a", f"bad {number}")
        clock.at += 0.01
    throttle("subscription_refused", "a", "X refused")
    assert told == [("error_frame", "a", "bad 0"), ("subscription_refused", "a", "X refused")]
    clock.at += 5.0
    throttle.look()
    assert told[2:] == [("error_frame", "a", "bad 499 (the last of 499 in 10 s)")]
    clock.at += 10.0
    throttle.look()
    assert len(told) == 3
    throttle("error_frame", "b", "again")
    assert told[3:] == [("error_frame", "b", "again")]
