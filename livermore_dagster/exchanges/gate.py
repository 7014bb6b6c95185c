"""Who may ask one exchange for a connection, and when: everybody, until one is refused for the rate (R3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from livermore_dagster.clock import Clock
from livermore_dagster.exchanges.closure import MARGIN_S, Closure
from livermore_dagster.exchanges.connection import ConnectionLost

__all__ = ["Gate"]

T = TypeVar("T")


class Gate:
    """Shared by all connections of one process to one exchange, for as long as the process lives: those of
    the market and those of accounts.

    After a 429 or 418 nobody asks before it may be asked; then one at a time does, until it lets one
    in: all at once they would be refused together, and an exchange may lengthen its ban for each.
    """

    def __init__(self, clock: Clock, closure: Closure | None = None) -> None:
        """`closure` is asked before each connection: what was told to others, or to a process before this
        one, holds here too."""
        self._clock = clock
        self._closure = closure
        self._opens_at = clock.monotonic()
        self._refused = False
        self._turn = asyncio.Lock()

    async def open(self, connect: Callable[[], Awaitable[T]]) -> T:
        """`connect`s when it may. Raises what that raises."""
        if await self._pause_s() <= 0 and not self._refused:
            return await self._try(connect)
        async with self._turn:
            await self.wait()
            return await self._try(connect)

    async def wait(self) -> None:
        """Until it may be asked, without asking: for who has to prepare what does not keep."""
        while (pause := await self._pause_s()) > 0:
            await self._clock.sleep(pause)

    async def _pause_s(self) -> float:
        if self._closure is not None and (seconds := await self._closure.left_s()) > 0:
            self._shut(seconds)
        return self._opens_at - self._clock.monotonic()

    def _shut(self, seconds: float) -> None:
        self._refused = True
        self._opens_at = max(self._opens_at, self._clock.monotonic() + seconds)

    async def _try(self, connect: Callable[[], Awaitable[T]]) -> T:
        try:
            opened = await connect()
        except ConnectionLost as lost:
            if lost.limited is not None:
                self._shut(lost.retry_after_s + MARGIN_S)
                if self._closure is not None:
                    await self._closure.close(lost.limited, lost.retry_after_s)
            raise
        # One that was under way with a refused one says nothing of what comes after that.
        self._refused = self._opens_at > self._clock.monotonic()
        return opened
