"""Keeps an endless part at work, whatever fails in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
import structlog
from redis.exceptions import RedisError

from livermore_dagster.clock import Clock

__all__ = ["Part", "keep"]

_log = structlog.get_logger(__name__)
_FIRST_S: Final = 0.25
_MOST_S: Final = 15.0

Part = Callable[[], Awaitable[None]]


async def keep(name: str, part: Part, clock: Clock) -> None:
    """Runs `part` and, after whatever failed in it, again: no failure of a notification may end more."""
    failures = 0
    while True:
        begun = clock.monotonic()
        try:
            await part()
            return
        except Exception as error:  # noqa: BLE001 - told, and tried again
            failures = failures + 1 if clock.monotonic() - begun < _MOST_S else 1
            known = isinstance(error, psycopg.Error | RedisError | OSError)
            _log.warning(
                "part_failed",
                part=name,
                error=f"{type(error).__name__}: {error}",
                exc_info=None if known else error,
            )
        await clock.sleep(min(_MOST_S, _FIRST_S * 2 ** min(failures - 1, 10)))
