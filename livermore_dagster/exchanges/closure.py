"""For how long an exchange lets nobody connect: what one process was told holds for all, in Redis (R3)."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Protocol, cast

import redis.asyncio
import structlog
from redis import RedisError

from livermore_dagster.exchanges.budget import Budget, closed_for_ms
from livermore_dagster.exchanges.contract import BudgetFeedback
from livermore_dagster.stores.redis import keys

__all__ = ["Closure", "SharedClosure"]

log = structlog.get_logger(__name__)

_BANNED = 418
_MARGIN_MS = 1_000
"""The exchange counts in whole seconds, by its own clock: also for who begins just when this is over."""
_PATIENCE_S = 2.0
"""Real seconds for Redis to answer: connections do not wait for it."""


class Closure(Protocol):
    """What is known beyond one process. Neither method raises for a Redis that is away."""

    async def left_s(self) -> float:
        """Seconds for which nobody may connect."""
        ...

    async def close(self, status: int, seconds: float) -> None:
        """The exchange answered an upgrade with `status` (429 or 418): nobody may for so long."""
        ...


class SharedClosure:
    """By the clock of the Redis server. A ban (418) is the address's: REST stops asking too.

    The first look of a process minds a closed request budget as well: whatever closed it, a process that
    has only begun has no stream that could be lost by waiting.
    """

    def __init__(self, redis: redis.asyncio.Redis, exchange_id: int, budget: Budget) -> None:
        self._redis = redis
        self._exchange_id = exchange_id
        self._budget = budget
        self._begun = False

    async def left_s(self) -> float:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                left_ms = int(await self._redis.pttl(keys.upgrades_refused(self._exchange_id)))
                if not self._begun:
                    left_ms = max(left_ms, await closed_for_ms(self._redis, self._exchange_id))
                    self._begun = True
        except (RedisError, TimeoutError) as error:
            log.warning("closure_unknown", exchange_id=self._exchange_id, error=type(error).__name__)
            return 0.0
        return max(0, left_ms) / 1000

    async def close(self, status: int, seconds: float) -> None:
        key, for_ms = keys.upgrades_refused(self._exchange_id), max(1, math.ceil(seconds * 1000))
        try:
            async with asyncio.timeout(_PATIENCE_S), self._redis.pipeline(transaction=True) as pipe:
                pipe.set(key, status, px=for_ms + _MARGIN_MS, nx=True)
                # Never shorter than somebody was told before.
                cast("Any", pipe).pexpire(key, for_ms + _MARGIN_MS, gt=True)
                await pipe.execute()
            if status == _BANNED:
                await self._budget.feedback(BudgetFeedback(retry_after_ms=for_ms))
        except (RedisError, TimeoutError) as error:
            log.warning("closure_untold", exchange_id=self._exchange_id, error=type(error).__name__)
