"""Who may ask one exchange for a connection, and when: everybody, until one is refused for the rate (R3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from livermore_dagster.clock import Clock
from livermore_dagster.exchanges.connection import ConnectionLost

__all__ = ["Gate"]

T = TypeVar("T")
_MARGIN_S: Final = 1.0
"""The exchange counts in whole seconds, by its own clock."""


class Gate:
    """Shared by all connections to one exchange.

    After a 429 or 418 nobody asks before it may be asked; then one at a time does, until it lets one
    in: all at once they would be refused together, and an exchange may lengthen its ban for each.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._opens_at = clock.monotonic()
        self._refused = False
        self._turn = asyncio.Lock()

    async def open(self, connect: Callable[[], Awaitable[T]]) -> T:
        """`connect`s when it may. Raises what that raises."""
        if not self._refused:
            return await self._try(connect)
        async with self._turn:
            while (pause := self._opens_at - self._clock.monotonic()) > 0:
                await self._clock.sleep(pause)
            return await self._try(connect)

    async def _try(self, connect: Callable[[], Awaitable[T]]) -> T:
        try:
            opened = await connect()
        except ConnectionLost as lost:
            if lost.limited is not None:
                self._refused = True
                opens_at = self._clock.monotonic() + lost.retry_after_s + _MARGIN_S
                self._opens_at = max(self._opens_at, opens_at)
            raise
        # One that was under way with a refused one says nothing of what comes after that.
        self._refused = self._opens_at > self._clock.monotonic()
        return opened
