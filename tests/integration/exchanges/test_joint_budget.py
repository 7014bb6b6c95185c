"""Two limits on the same requests, in a real Valkey."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.budget import RateBudget
from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule, Priority
from livermore_dagster.exchanges.factory import account_client_for
from livermore_dagster.exchanges.joint_budget import JointBudget
from tests.integration.exchanges.account_exchange import exchange, reply
from tests.integration.exchanges.test_account_client import ACCOUNT, BINANCE, COINBASE

CLOCK = SystemClock()


def budgets(
    redis: redis.asyncio.Redis, hourly: int, secondly: int, *, second_ms: int = 4_900
) -> tuple[RateBudget, RateBudget, JointBudget]:
    """Neither window passes while a test looks, unless it makes the shorter one so."""
    longer = RateBudget(redis, 1, BudgetRule(hourly, 4_900), CLOCK, "longer")
    shorter = RateBudget(redis, 1, BudgetRule(secondly, second_ms), CLOCK, "shorter")
    return longer, shorter, JointBudget(longer, shorter)


async def test_a_request_takes_from_both_and_what_is_said_is_of_the_shorter(
    connected: redis.asyncio.Redis,
) -> None:
    longer, shorter, joint = budgets(connected, 100, 10)
    permit = await joint.take(2, Priority.ACCOUNT)
    assert ((await longer.state()).used, (await shorter.state()).used) == (2, 2)
    settled = await joint.feedback(BudgetFeedback(remaining=1, retry_after_ms=50), permit)
    assert settled.closed_ms > 0
    assert ((await longer.state()).used, (await shorter.state()).used) == (2, 9)
    assert (await longer.state()).closed_ms == 0


async def test_the_tighter_one_decides(connected: redis.asyncio.Redis) -> None:
    _, _, joint = budgets(connected, 3, 10)
    for _ in range(3):
        await joint.take(1, Priority.ACCOUNT)  # and not given back: no window ends
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(joint.take(1, Priority.ACCOUNT), 0.5)


async def test_who_gives_up_waiting_leaves_no_permit_behind(connected: redis.asyncio.Redis) -> None:
    longer, shorter, joint = budgets(connected, 100, 1, second_ms=300)
    held = await joint.take(1, Priority.ACCOUNT)
    waiting = asyncio.create_task(joint.take(1, Priority.ACCOUNT))
    async with asyncio.timeout(60):
        while (await longer.state()).used < 2:  # noqa: ASYNC110 (what is awaited is in Valkey)
            await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await joint.feedback(BudgetFeedback(), held)
    await joint.feedback(BudgetFeedback(), await asyncio.wait_for(joint.take(1, Priority.ACCOUNT), 60))
    assert joint._held == {}
    assert longer._out == shorter._out == set()


async def test_each_key_of_coinbase_has_its_own_budget_and_binance_the_address_one(
    connected: redis.asyncio.Redis,
) -> None:
    def answer_of(body: object):
        async def answer(_: object):
            return reply(body)

        return answer

    async with exchange("coinbase", answer_of({"accounts": [], "has_next": False, "cursor": ""})) as played:
        for credentials in (COINBASE, dataclasses.replace(COINBASE, key="organizations/o/apiKeys/another")):
            client = account_client_for(played.row, credentials, connected, CLOCK)
            await client.check()
            await client.close()
    async with exchange("binance", answer_of(ACCOUNT)) as played:
        client = account_client_for(played.row, BINANCE, connected, CLOCK)
        await client.check()
        await client.close()
    found = await connected.keys("budget:*:active")
    kept = sorted(key.removeprefix("budget:") for key in found)
    coinbase = [key for key in kept if key.startswith("1:account-")]
    assert len(coinbase) == 4, "an hourly one and one a second, for each of two keys"
    assert [key for key in kept if key not in coinbase] == ["2:public:active"]
    assert not any("organizations" in key or BINANCE.key in key for key in kept)
