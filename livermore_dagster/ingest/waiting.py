"""Waiting for a server that is away: without end, with growing delays, and visibly."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import Final

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from livermore_dagster.incidents import IncidentName
from livermore_dagster.stores.redis import metrics

__all__ = ["SIGNALS", "STORE", "Waiting", "Work"]

_log = structlog.get_logger(__name__)

_FIRST_S: Final = 0.1
_LONGEST_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Work:
    """What waits: `subject` in words, the counter of its failed attempts, and how both ends are told."""

    subject: str
    counter: str
    waits: IncidentName
    resumes: IncidentName


SIGNALS: Final = Work(
    "Signals", "signals_retries", IncidentName.SIGNALS_WAITING, IncidentName.SIGNALS_RESUMED
)
STORE: Final = Work("Closes", "store_retries", IncidentName.STORE_WAITING, IncidentName.STORE_RESUMED)


class Waiting:
    """Each failed attempt is counted; the first at a server is told, and so is the end of it all."""

    def __init__(self, client: redis.asyncio.Redis, exchange_id: int, work: Work) -> None:
        self._redis = client
        self._exchange_id = exchange_id
        self._work = work
        self.server: str | None = None
        """'PostgreSQL' or 'Redis' while that does not answer."""
        self.attempts = 0
        """Failed attempts in a row."""

    async def after(self, error: Exception, stop: asyncio.Event) -> None:
        """Returns when it is time for another attempt, or `stop` is set."""
        away = "Redis" if isinstance(error, RedisError) else "PostgreSQL"
        first = self.server != away
        self.server, self.attempts = away, self.attempts + 1
        reason = _reason(error)
        text = f"{self._work.subject} wait for {away}: {reason}"
        _log.warning(self._work.waits.value, server=away, attempts=self.attempts, text=text)
        # Redis may be what is away.
        with contextlib.suppress(RedisError, OSError):
            await metrics.count(self._redis, self._exchange_id, self._work.counter)
            if first:
                await metrics.incident(self._redis, self._work.waits, self._exchange_id, text)
        delay = min(_LONGEST_S, _FIRST_S * 2 ** min(self.attempts - 1, 10))
        with contextlib.suppress(TimeoutError):
            jitter = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            async with asyncio.timeout(delay * jitter):
                await stop.wait()

    async def over(self) -> None:
        """An attempt came through."""
        if self.server is None:
            return
        text = f"{self._work.subject} go on after {self.attempts} failed attempts."
        _log.info(self._work.resumes.value, server=self.server, attempts=self.attempts, text=text)
        await metrics.incident(self._redis, self._work.resumes, self._exchange_id, text)
        self.server, self.attempts = None, 0


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
