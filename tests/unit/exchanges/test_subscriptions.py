"""Which symbols of a connection are asked for, and again."""

from __future__ import annotations

from livermore_dagster.exchanges.contract import Ack, Refusal
from livermore_dagster.exchanges.subscriptions import AckTracker


def test_what_was_given_up_may_be_wanted_again() -> None:
    tracker = AckTracker(attempts=1, patience_s=10.0)
    assert tracker.want(["A", "B"]) == ["A", "B"]
    tracker.sent(["A", "B"], [], now=0.0)
    tracker.on_ack(Ack(symbols=("A",)))
    tracker.on_refusal(Refusal("no such product", symbol="B"), now=1.0)
    _, lost = tracker.overdue(2.0)
    assert [refusal.symbol for refusal in lost] == ["B"]
    assert tracker.want(["A", "B"]) == ["B"], "A is streamed; B is asked for once more"
    tracker.sent(["B"], [], now=60.0)
    tracker.on_ack(Ack(symbols=("B",)))
    assert tracker.acknowledged == {"A", "B"}
    assert tracker.want(["B"]) == []
