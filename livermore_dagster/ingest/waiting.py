"""Waiting for a server that is away: without end, with growing delays, and visibly."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final

import psycopg
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from livermore_dagster.stores.redis import metrics

__all__ = ["Waiting"]

_log = structlog.get_logger(__name__)

_FIRST_S: Final = 0.1
_LONGEST_S: Final = 5.0


class Waiting:
    """Counter `<work>_retries`, incidents `<work>_waiting` at the first failure and `<work>_resumed`."""

    def __init__(self, client: redis.asyncio.Redis, exchange_id: int, work: str) -> None:
        self._redis = client
        self._exchange_id = exchange_id
        self._work = work
        self.attempts = 0
        """Failed attempts in a row."""

    async def after(self, error: Exception, stop: asyncio.Event) -> None:
        """Returns when it is time for another attempt, or `stop` is set."""
        self.attempts += 1
        server = "PostgreSQL" if isinstance(error, psycopg.Error) else "Redis"
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        _log.warning(f"{self._work}_waiting", server=server, attempts=self.attempts, error=reason)
        # Redis may be what is away.
        with contextlib.suppress(RedisError, OSError):
            await metrics.count(self._redis, self._exchange_id, f"{self._work}_retries")
            if self.attempts == 1:
                text = f"{self._work.capitalize()} wait for {server}: {reason}"
                await metrics.incident(self._redis, f"{self._work}_waiting", self._exchange_id, text)
        delay = min(_LONGEST_S, _FIRST_S * 2 ** min(self.attempts - 1, 10))
        with contextlib.suppress(TimeoutError):
            jitter = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            await asyncio.wait_for(stop.wait(), delay * jitter)

    async def over(self) -> None:
        """An attempt came through."""
        if self.attempts:
            text = f"{self._work.capitalize()} go on after {self.attempts} failed attempts."
            await metrics.incident(self._redis, f"{self._work}_resumed", self._exchange_id, text)
            self.attempts = 0
