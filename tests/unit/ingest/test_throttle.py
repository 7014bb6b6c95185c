"""Like troubles are told once in ten seconds, with their number."""

from __future__ import annotations

from livermore_dagster.clock import SystemClock
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.throttle import Throttle

ERROR, REFUSED = IncidentName.ERROR_FRAME, IncidentName.SUBSCRIPTION_REFUSED


class Hand(SystemClock):
    at = 100.0

    def monotonic(self) -> float:
        return self.at


def test_a_flood_is_told_as_its_first_and_its_number() -> None:
    told: list[tuple[IncidentName, str, str]] = []
    clock = Hand()
    throttle = Throttle(lambda *words: told.append(words), clock)
    for number in range(500):
        throttle(ERROR, "a", f"bad {number}")
        clock.at += 0.01
    throttle(REFUSED, "a", "X refused")
    assert told == [(ERROR, "a", "bad 0"), (REFUSED, "a", "X refused")]
    clock.at += 5.0
    throttle.look()
    assert told[2:] == [(ERROR, "a", "bad 499 (the last of 499 in 10 s)")]
    clock.at += 10.0
    throttle.look()
    assert len(told) == 3
    throttle(ERROR, "b", "again")
    assert told[3:] == [(ERROR, "b", "again")]
