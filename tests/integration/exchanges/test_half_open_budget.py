"""After a refusal one request asks whether the ban is over; the others wait for its reply."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livermore_dagster.errors import RateLimited
from livermore_dagster.exchanges.budget import BudgetLedger, Permit
from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule, Priority
from livermore_dagster.stores.redis import metrics
from tests.integration.exchanges.conftest import Field

ADMITTED = BudgetFeedback(admitted=True)
UNHEARD = BudgetFeedback()
RULE = BudgetRule(50, 1_000)
LEASE_MS = 12_000


def refusal(ms: int) -> BudgetFeedback:
    return BudgetFeedback(retry_after_ms=ms)


async def granted(ledger: BudgetLedger, now: int, *tickets: str) -> list[str]:
    """Those of `tickets` that may go out now, however long the queue before them."""
    out: list[str] = []
    for _ in tickets:
        out += [
            ticket
            for ticket in tickets
            if ticket not in out and (await ledger.attempt(ticket, 1, Priority.BOUNDARY, now)).granted
        ]
    return out


@pytest.fixture
async def closed(connected: redis.asyncio.Redis) -> BudgetLedger:
    """Refused at 10 000 and closed for 2 000 ms; "early" was sent before and is out still."""
    ledger = BudgetLedger(connected, 1, RULE)
    assert await granted(ledger, 9_990, "early", "refused") == ["early", "refused"]
    await ledger.settle(Permit("refused", 1), refusal(2_000), now_ms=10_000)
    return ledger


async def test_one_request_goes_out_and_let_in_opens_it_for_all(
    closed: BudgetLedger, connected: redis.asyncio.Redis
) -> None:
    other = BudgetLedger(connected, 1, RULE)
    assert await granted(closed, 12_001, "a", "b", "c") == ["a"]
    assert await granted(other, 12_300, "b", "c", "d") == [], "not in another process either"
    await closed.settle(Permit("a", 1), ADMITTED, now_ms=12_400)
    assert await granted(other, 12_401, "b", "c", "d") == ["b", "c", "d"]


async def test_a_refused_probe_closes_it_for_longer_and_is_again_one(closed: BudgetLedger) -> None:
    """Also where the exchange says a time: the last one it said was waited for in vain."""
    now, waits = 12_001, []
    for number in range(9):
        probe = await granted(closed, now, *(f"{number}-{n}" for n in range(6)))
        assert len(probe) == 1
        await closed.settle(Permit(probe[0], 1), refusal(1_000), now_ms=now + 50)
        waits.append((await closed.state(now + 50)).closed_ms)
        now += 51 + waits[-1]
    assert waits == [4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000]
    [probe] = await granted(closed, now, "last")
    await closed.settle(Permit(probe, 1), refusal(900_000), now_ms=now + 50)
    assert (await closed.state(now + 50)).closed_ms == 900_000, "what it says is waited for at least"


async def test_a_probe_whose_process_died_gives_way(closed: BudgetLedger) -> None:
    assert await granted(closed, 12_001, "dies") == ["dies"]
    assert await granted(closed, 12_000 + LEASE_MS, "next", "third") == []
    assert await granted(closed, 12_002 + LEASE_MS, "next", "third") == ["next"]
    # It lives after all, and is no longer the probe.
    await closed.settle(Permit("dies", 1), ADMITTED, now_ms=12_010 + LEASE_MS)
    assert await granted(closed, 12_020 + LEASE_MS, "third") == []


async def test_a_reply_to_what_was_sent_before_does_not_open_it(closed: BudgetLedger) -> None:
    await closed.settle(Permit("early", 1), ADMITTED, now_ms=10_100)
    assert await granted(closed, 12_001, "a", "b") == ["a"]


async def test_an_older_request_refused_late_takes_the_word_from_the_probe(closed: BudgetLedger) -> None:
    assert await granted(closed, 12_001, "a") == ["a"]
    await closed.settle(Permit("early", 1), refusal(3_000), now_ms=12_050)
    await closed.settle(Permit("a", 1), ADMITTED, now_ms=12_100)
    assert await granted(closed, 15_040, "b", "c") == []
    assert await granted(closed, 15_051, "b", "c") == ["b"]


async def test_a_probe_of_which_nothing_is_heard_is_followed_by_one(closed: BudgetLedger) -> None:
    """A failing server, an edge's page or a lost connection: nobody knows yet."""
    assert await granted(closed, 12_001, "a") == ["a"]
    await closed.settle(Permit("a", 1), UNHEARD, now_ms=12_100)
    assert await granted(closed, 13_099, "b", "c") == []
    assert await granted(closed, 13_101, "b", "c") == ["b"]
    await closed.settle(Permit("b", 1), UNHEARD, on_its_way_ms=5_000, now_ms=13_200)
    assert await granted(closed, 18_199, "c", "d") == []
    assert await granted(closed, 18_201, "c", "d") == ["c"]


async def test_a_clock_set_back_does_not_hold_the_probe_for_ever(closed: BudgetLedger) -> None:
    far = 100_000_000
    assert await granted(closed, far, "a") == ["a"]
    assert await granted(closed, 20_000, "b") == ["b"]


@dataclass
class Banned:
    """Several clients against an exchange that refuses till its ban's end, later for each request."""

    ledgers: list[BudgetLedger]
    banned_until: int
    trips: list[int]
    told_ms: int
    lengthens_ms: int
    now: int = 1_000_000
    out: set[int] = field(default_factory=set)
    tries: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    most_out: int = 0
    """Of requests at once between the first refusal and the first that was let in."""
    done: set[int] = field(default_factory=set)

    async def run(self) -> None:
        first = self.ledgers[0]
        await first.settle(None, refusal(self.told_ms), now_ms=self.now)
        numbers = itertools.count()
        events = [(self.now, next(numbers), "ask", index) for index in range(len(self.trips))]
        heapq.heapify(events)
        while events:
            self.now, _, kind, index = heapq.heappop(events)
            ledger = self.ledgers[index % len(self.ledgers)]
            ticket = f"t{index}-{self.tries[index]}"
            if kind == "ask":
                attempt = await ledger.attempt(ticket, 1, Priority.WARMUP, self.now)
                if attempt.granted:
                    self.out.add(index)
                    if not self.done:
                        self.most_out = max(self.most_out, len(self.out))
                    heapq.heappush(events, (self.now + self.trips[index], next(numbers), "reply", index))
                else:
                    wait = attempt.wait_ms if attempt.closed else attempt.wait_ms * 10
                    heapq.heappush(events, (self.now + max(1, wait), next(numbers), "ask", index))
                continue
            self.out.discard(index)
            if self.now >= self.banned_until:
                self.done.add(index)
                await ledger.settle(Permit(ticket, 1), ADMITTED, now_ms=self.now)
            else:
                self.refused += 1
                self.tries[index] += 1
                self.banned_until += self.lengthens_ms
                await ledger.settle(Permit(ticket, 1), refusal(self.told_ms), now_ms=self.now)
                heapq.heappush(events, (self.now, next(numbers), "ask", index))


async def endure(url: str, processes: int, **world: object) -> Banned:
    async with redis.asyncio.from_url(url, decode_responses=True) as connected:
        await connected.flushall()
        ledgers = [BudgetLedger(connected, 1, RULE) for _ in range(processes)]
        banned = Banned(ledgers, **world)  # type: ignore[arg-type]
        await banned.run()
        return banned


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ban_ms=st.integers(0, 60_000),
    told_ms=st.integers(1_000, 5_000),
    lengthens_ms=st.integers(0, 2_000),
    trips=st.lists(st.integers(5, 900), min_size=1, max_size=12),
    processes=st.integers(1, 3),
)
def test_a_ban_is_asked_about_by_one_request_at_a_time_and_ends(
    redis_url: str, ban_ms: int, told_ms: int, lengthens_ms: int, trips: list[int], processes: int
) -> None:
    banned = asyncio.run(
        endure(
            redis_url,
            processes,
            banned_until=1_000_000 + ban_ms,
            trips=trips,
            told_ms=told_ms,
            lengthens_ms=lengthens_ms,
        )
    )
    assert banned.most_out == 1
    assert len(banned.done) == len(trips), "every request gets its turn"
    # Closures of 1, 2, 4 ... s against a ban of at most 60 s and 2 s more for each.
    assert banned.refused <= 7


async def test_requests_that_wait_out_a_ban_are_refused_one_at_a_time(still: Field) -> None:
    """Two clients, as two processes, twelve requests, and an exchange that refuses once more than it said."""
    clients = [still.client("binance") for _ in range(2)]
    await still.order("binance", kind="rate_limit", count=2, retry_after_s=1)
    with pytest.raises(RateLimited):
        await clients[0].server_time()
    asked = [client.server_time() for client in clients for _ in range(6)]
    replies = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 120)
    refused = [reply for reply in replies if isinstance(reply, RateLimited)]
    assert len(refused) == 1
    assert len(replies) - len([reply for reply in replies if isinstance(reply, BaseException)]) == 11
    counters = await metrics.read_counters(still.redis, clients[0].row.id)
    assert counters["http_429"] == 2
    assert (await still.control("binance", "counters"))["http_418"] == 0
    for client in clients:
        await client.close()
