"""Limits in real time: windows, refusals, bans that grow."""

from __future__ import annotations

from livermore_dagster.simulator.limits import RAW_WINDOW_S, MessageRate, RequestBucket, WeightWindow


class Hands:
    """Seconds moved by hand."""

    def __init__(self) -> None:
        self.now = 600.0

    def __call__(self) -> float:
        return self.now


def test_weight_is_counted_by_the_minute_and_refused_above_the_limit() -> None:
    hands = Hands()
    window = WeightWindow(100, raw_limit=61_000, now=hands)
    assert [window.take(50).status for _ in range(3)] == [200, 200, 429]
    hands.now += 20
    refused = window.take(1)
    assert refused.status == 429
    assert refused.retry_after_s == 40
    hands.now += 40
    assert window.take(100).status == 200
    assert window.take(1).status == 429


def test_going_on_after_429_is_banned_and_the_ban_grows() -> None:
    hands = Hands()
    window = WeightWindow(10, raw_limit=61_000, refusals=3, ban_s=120, now=hands)
    assert [window.take(11).status for _ in range(4)] == [429, 429, 429, 418]
    first = window.take(1)
    assert first.status == 418
    assert 120 < first.retry_after_s <= 130
    assert window.take(1).retry_after_s > first.retry_after_s
    hands.now += 3600
    assert window.take(1).status == 200
    again = [window.take(11) for _ in range(4)][-1]
    assert again.status == 418
    assert again.retry_after_s >= 240


def test_a_ban_never_exceeds_three_days() -> None:
    hands = Hands()
    window = WeightWindow(1, raw_limit=61_000, refusals=0, ban_s=50_000, now=hands)
    verdicts = [window.take(2) for _ in range(200)]
    assert max(verdict.retry_after_s for verdict in verdicts) <= 3 * 86_400


def test_weight_of_others_counts() -> None:
    window = WeightWindow(100, raw_limit=61_000, now=Hands())
    window.eat(95)
    assert window.take(10).status == 429


def test_a_request_bucket_refills_at_its_rate() -> None:
    hands = Hands()
    bucket = RequestBucket(10, 15, now=hands)
    assert [bucket.take().status for _ in range(16)] == [200] * 15 + [429]
    hands.now += 0.5
    assert [bucket.take().status for _ in range(6)] == [200] * 5 + [429]


def test_message_rate_slides() -> None:
    hands = Hands()
    rate = MessageRate(2, now=hands)
    assert [rate.allow() for _ in range(3)] == [True, True, False]
    hands.now += 1
    assert rate.allow()


def test_raw_requests_count_whatever_they_weigh() -> None:
    hands = Hands()
    window = WeightWindow(1000, raw_limit=3, refusals=1, now=hands)
    verdicts = [window.take(weight) for weight in (1, 900, 0, 1)]
    assert [verdict.status for verdict in verdicts] == [200, 200, 200, 429]
    assert verdicts[-1].is_raw
    assert 0 < verdicts[-1].retry_after_s <= RAW_WINDOW_S
    assert window.take(1).status == 418


def test_who_goes_on_while_shut_is_banned() -> None:
    hands = Hands()
    window = WeightWindow(1000, raw_limit=61_000, refusals=2, ban_s=120, now=hands)
    assert window.take(1).status == 200
    assert window.shut(30).retry_after_s == 30
    assert window.take(1).status == 200  # under way when the 429 came
    hands.now += window.under_way_s
    assert [window.take(1).status for _ in range(2)] == [429, 418]
    patient = WeightWindow(1000, raw_limit=61_000, refusals=2, now=hands)
    patient.shut(30)
    hands.now += 30
    assert patient.take(1).status == 200


def test_a_ban_ordered_again_is_never_shortened() -> None:
    hands = Hands()
    window = WeightWindow(1000, raw_limit=61_000, now=hands)
    window.ban(100)
    longer = window.take(1).retry_after_s
    window.ban(5)
    assert window.take(1).retry_after_s > longer > 100
