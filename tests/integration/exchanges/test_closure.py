"""For how long nobody connects, as all processes are told it."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.budget import RateBudget
from livermore_dagster.exchanges.closure import MARGIN_S, SharedClosure
from livermore_dagster.exchanges.connection import ConnectionLost
from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule
from livermore_dagster.exchanges.gate import Gate

CLOCK = SystemClock()


def closure_of(client: redis.asyncio.Redis) -> SharedClosure:
    """As a process of its own has it."""
    return SharedClosure(client, 2, RateBudget(client, 2, BudgetRule(10, 1000), CLOCK))


async def test_of_two_refusals_the_longer_one_holds(connected: redis.asyncio.Redis) -> None:
    closure = closure_of(connected)
    for seconds in (60.0, 0.0, 120.0, 1.0):
        await closure.close(429, seconds)
    assert 100 < await closure_of(connected).left_s() <= 120 + MARGIN_S


async def test_a_closed_budget_keeps_who_begins_away_with_the_same_margin(
    connected: redis.asyncio.Redis,
) -> None:
    budget = RateBudget(connected, 2, BudgetRule(10, 1000), CLOCK)
    beginning = SharedClosure(connected, 2, budget)
    assert await closure_of(connected).left_s() == 0.0
    await budget.feedback(BudgetFeedback(retry_after_ms=60_000))
    left_s, closed_s = await beginning.left_s(), (await budget.state()).closed_ms / 1000
    assert closed_s + MARGIN_S <= left_s <= 60 + MARGIN_S
    assert await beginning.left_s() == 0.0, "it has begun"


async def test_without_redis_a_refusal_still_holds_in_its_own_process() -> None:
    gone = redis.asyncio.Redis.from_url("redis://127.0.0.1:1")
    gate = Gate(CLOCK, closure_of(gone))

    async def refused() -> None:
        raise ConnectionLost("no", limited=429, retry_after_s=60.0)

    with pytest.raises(ConnectionLost):
        await gate.open(refused)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await gate.wait()
    await gone.aclose()
