"""For how long an exchange lets nobody connect: what one process was told holds for all, in Redis (R3)."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final, Protocol, cast

import redis.asyncio
import structlog
from redis import RedisError

from livermore_dagster.exchanges.budget import Budget, closed_for_ms
from livermore_dagster.exchanges.contract import BudgetFeedback
from livermore_dagster.stores.redis import keys

__all__ = ["MARGIN_S", "Closure", "SharedClosure"]

log = structlog.get_logger(__name__)

_BANNED = 418
MARGIN_S: Final = 1.0
"""On top of what the exchange says: it counts in whole seconds, by its own clock."""
_PATIENCE_S = 2.0
"""Real seconds for Redis to answer: connections do not wait for it."""


class Closure(Protocol):
    """What is known beyond one process. Neither method raises for a Redis that is away."""

    async def left_s(self) -> float:
        """Seconds for which nobody may connect, with the margin."""
        ...

    async def close(self, status: int, seconds: float) -> None:
        """The exchange answered an upgrade with `status` (429 or 418) and says for how long nobody may."""
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
                left_s = max(0, await self._redis.pttl(keys.upgrades_refused(self._exchange_id))) / 1000
                if not self._begun:
                    closed_ms = await closed_for_ms(self._redis, self._exchange_id)
                    if closed_ms > 0:
                        left_s = max(left_s, closed_ms / 1000 + MARGIN_S)
                    self._begun = True
        except (RedisError, TimeoutError) as error:
            log.warning("closure_unknown", exchange_id=self._exchange_id, error=type(error).__name__)
            return 0.0
        return left_s

    async def close(self, status: int, seconds: float) -> None:
        key, for_ms = keys.upgrades_refused(self._exchange_id), max(1, math.ceil(seconds * 1000))
        shut_ms = for_ms + round(MARGIN_S * 1000)
        try:
            async with asyncio.timeout(_PATIENCE_S), self._redis.pipeline(transaction=True) as pipe:
                pipe.set(key, status, px=shut_ms, nx=True)
                # Never shorter than somebody was told before.
                cast("Any", pipe).pexpire(key, shut_ms, gt=True)
                await pipe.execute()
            if status == _BANNED:
                await self._budget.feedback(BudgetFeedback(retry_after_ms=for_ms))
        except (RedisError, TimeoutError) as error:
            log.warning("closure_untold", exchange_id=self._exchange_id, error=type(error).__name__)
