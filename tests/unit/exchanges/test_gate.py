"""After a refused upgrade all connections of an exchange keep away, then ask one at a time."""

from __future__ import annotations

import asyncio
import random

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from livermore_dagster.exchanges.backoff import Backoff
from livermore_dagster.exchanges.closure import MARGIN_S
from livermore_dagster.exchanges.connection import ConnectionLost, classify
from livermore_dagster.exchanges.gate import Gate


class StepClock:
    """Each sleep moves time by what was asked."""

    def __init__(self) -> None:
        self.at = 100.0

    def now_ms(self) -> int:
        return int(self.at * 1000)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        until = self.at + seconds
        await asyncio.sleep(0)
        self.at = max(self.at, until)


class Exchange:
    """Answers upgrades with the next of `answers`, None letting one in."""

    def __init__(self, clock: StepClock, *answers: ConnectionLost | None) -> None:
        self._clock = clock
        self._answers = list(answers)
        self.asked: list[float] = []

    async def connect(self) -> str:
        self.asked.append(self._clock.at - 100.0)
        answer = self._answers.pop(0) if self._answers else None
        await asyncio.sleep(0)
        if answer is not None:
            raise answer
        return "open"


def refusal(status: int, *retry_after: str) -> ConnectionLost:
    headers = Headers([("retry-after", value) for value in retry_after])
    return classify(InvalidStatus(Response(status, "", headers)), "wss://x")


@pytest.mark.parametrize(
    ("lost", "limited", "seconds"),
    [
        (refusal(429, "120"), 429, 120.0),
        (refusal(418, "3"), 418, 3.0),
        (refusal(429), 429, 60.0),
        (refusal(418, "soon"), 418, 60.0),
        (refusal(429, "7", "9"), 429, 9.0),
        (refusal(503, "120"), None, 0.0),
    ],
)
def test_a_refusal_for_the_rate_says_for_how_long(
    lost: ConnectionLost, limited: int | None, seconds: float
) -> None:
    assert (lost.limited, lost.retry_after_s, lost.retryable) == (limited, seconds, True)
    backoff = Backoff(random.Random(1))
    assert all(backoff.delay(0.0, least_s=lost.retry_after_s) > seconds for _ in range(8))


async def test_all_keep_away_as_long_as_one_was_told_to() -> None:
    clock = StepClock()
    exchange, gate = Exchange(clock, refusal(429, "120")), Gate(clock)
    with pytest.raises(ConnectionLost):
        await gate.open(exchange.connect)
    assert await asyncio.gather(*(gate.open(exchange.connect) for _ in range(3))) == ["open"] * 3
    assert exchange.asked == [0.0, 121.0, 121.0, 121.0]


class Notices:
    """What processes were told, and until when it holds, with the margin."""

    def __init__(self, clock: StepClock, until_s: float = 0.0) -> None:
        self._clock = clock
        self.until_s = until_s
        self.told: list[tuple[int, float]] = []

    async def left_s(self) -> float:
        await asyncio.sleep(0)
        return max(0.0, 100.0 + self.until_s - self._clock.at)

    async def close(self, status: int, seconds: float) -> None:
        self.told.append((status, seconds))
        self.until_s = self._clock.at - 100.0 + seconds + MARGIN_S


async def test_a_refusal_known_from_before_is_waited_out() -> None:
    clock = StepClock()
    exchange, gate = Exchange(clock), Gate(clock, Notices(clock, 600.0))
    assert await asyncio.gather(*(gate.open(exchange.connect) for _ in range(3))) == ["open"] * 3
    await gate.open(exchange.connect)
    assert exchange.asked == [600.0] * 4


async def test_what_one_process_was_told_keeps_the_others_away() -> None:
    clock = StepClock()
    exchange, notices = Exchange(clock, None, refusal(429, "120")), Notices(clock)
    one, other = Gate(clock, notices), Gate(clock, notices)
    await other.open(exchange.connect)
    with pytest.raises(ConnectionLost):
        await one.open(exchange.connect)
    assert notices.told == [(429, 120.0)]
    await other.open(exchange.connect)
    assert exchange.asked == [0.0, 0.0, 121.0]


async def test_who_waits_stays_away_for_what_is_told_meanwhile() -> None:
    clock = StepClock()
    exchange, notices = Exchange(clock), Notices(clock, 10.0)
    gate = Gate(clock, notices)
    waiting = asyncio.create_task(gate.wait())
    while clock.at == 100.0:
        await asyncio.sleep(0)
        notices.until_s = 40.0
    await waiting
    assert exchange.asked == []
    assert clock.at >= 140.0


async def test_one_at_a_time_asks_until_it_is_let_in() -> None:
    clock = StepClock()
    exchange, gate = Exchange(clock, refusal(429), refusal(429, "200"), refusal(503)), Gate(clock)
    with pytest.raises(ConnectionLost):
        await gate.open(exchange.connect)
    tries = await asyncio.gather(*(gate.open(exchange.connect) for _ in range(4)), return_exceptions=True)
    assert [type(one) for one in tries] == [ConnectionLost, ConnectionLost, str, str]
    assert exchange.asked == [0.0, 61.0, 262.0, 262.0, 262.0]


async def test_one_let_in_that_was_under_way_with_a_refused_one_opens_nothing() -> None:
    clock = StepClock()
    exchange, gate = Exchange(clock, refusal(429, "10"), None), Gate(clock)
    together = (gate.open(exchange.connect), gate.open(exchange.connect))
    refused, let_in = await asyncio.gather(*together, return_exceptions=True)
    assert isinstance(refused, ConnectionLost)
    assert let_in == "open"
    await gate.open(exchange.connect)
    assert exchange.asked == [0.0, 0.0, 11.0]


async def test_one_that_is_cancelled_while_it_waits_holds_up_nobody() -> None:
    clock = StepClock()
    exchange, gate = Exchange(clock, refusal(418, "10")), Gate(clock)
    with pytest.raises(ConnectionLost):
        await gate.open(exchange.connect)
    waiting = [asyncio.create_task(gate.open(exchange.connect)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert await waiting[1] == "open"
