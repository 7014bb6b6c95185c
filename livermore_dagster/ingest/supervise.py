"""Keeps the endless parts of a service running: restarts what fails, within bounds, and tells it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
import redis
import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.errors import ExchangeError

__all__ = ["TRANSIENT", "Supervisor"]

log = structlog.get_logger(__name__)

TRANSIENT: Final = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    psycopg.OperationalError,
    ConnectionError,
    ExchangeError,
)
"""Failures of a server or network: a part that meets one is restarted for as long as it takes."""
_MAX_FAILURES = 5
_WINDOW_S = 60.0
_MAX_DELAY_S = 5.0

Part = Callable[[], Awaitable[None]]
Tell = Callable[[str, str], Awaitable[None]]


class Supervisor:
    """Parts are named coroutines that run until cancelled; one that returns by itself has done its work."""

    def __init__(self, clock: Clock, tell: Tell) -> None:
        """`tell(part, text)` makes a failure known; it must not raise."""
        self._clock = clock
        self._tell = tell
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._fatal: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    @property
    def fatal(self) -> asyncio.Future[BaseException]:
        """Resolved with the exception of a part that failed too often: the service must end."""
        return self._fatal

    def start(self, name: str, part: Part) -> None:
        self._tasks[name] = asyncio.create_task(self._keep(name, part), name=name)

    def __contains__(self, name: str) -> bool:
        return name in self._tasks and not self._tasks[name].done()

    async def ended(self, *names: str, within_s: float) -> bool:
        """Whether the named parts have ended, after waiting for that so long (real seconds)."""
        running = [self._tasks[name] for name in names if name in self]
        if running:
            await asyncio.wait(running, timeout=within_s)
        return not any(name in self for name in names)

    async def stop(self, *names: str) -> None:
        """Cancels the named parts (all when none is named) and waits for their end."""
        chosen = [self._tasks.pop(name) for name in (names or tuple(self._tasks)) if name in self._tasks]
        for task in chosen:
            task.cancel()
        if chosen:
            await asyncio.wait(chosen)

    async def _keep(self, name: str, part: Part) -> None:
        failures: deque[float] = deque(maxlen=_MAX_FAILURES)
        in_a_row = 0
        while True:
            begun = self._clock.monotonic()
            error = await _outcome(part)
            if error is None:
                return
            now = self._clock.monotonic()
            in_a_row = in_a_row + 1 if now - begun < _WINDOW_S else 1
            transient = isinstance(error, TRANSIENT)
            log.warning("part_failed", part=name, error=_words(error), exc_info=None if transient else error)
            await self._tell(name, _words(error))
            if not transient:
                failures.append(now)
                if len(failures) == _MAX_FAILURES and now - failures[0] < _WINDOW_S:
                    if not self._fatal.done():
                        self._fatal.set_result(error)
                    return
            await self._clock.sleep(min(_MAX_DELAY_S, 0.25 * 2 ** min(in_a_row - 1, 6)))


async def _outcome(part: Part) -> BaseException | None:
    """Runs `part` to its end; what it raised, or None. Cancelling this cancels it."""

    async def run() -> None:
        await part()

    task = asyncio.create_task(run())
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    if task.cancelled():
        return asyncio.CancelledError("cancelled from inside")
    return task.exception()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
