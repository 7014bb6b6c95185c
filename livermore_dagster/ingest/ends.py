"""What may end an instance's work while it waits for something else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from livermore_dagster.errors import ClaimLost

__all__ = ["Ends"]

T = TypeVar("T")


class Ends:
    """`stopped`: a stop was asked for, with its reason. `lost`: the claim is another's. `fatal`: parts that
    failed too often."""

    def __init__(self, lost: asyncio.Future[ClaimLost]) -> None:
        self.stopped = asyncio.Event()
        self.reason = ""
        self._lost = lost
        self._fatal: list[asyncio.Future[BaseException]] = []

    def stop(self, reason: str) -> None:
        """The first reason stands."""
        if not self.stopped.is_set():
            self.reason = reason
            self.stopped.set()

    def watch(self, fatal: asyncio.Future[BaseException]) -> None:
        self._fatal.append(fatal)

    async def unless(self, work: Awaitable[T]) -> T | None:
        """The result of `work`, or None when a stop was asked for first.

        Raises ClaimLost when the claim is lost and a part's error when it failed too often.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.create_task(self.stopped.wait())
        ends: set[asyncio.Future[Any]] = {task, stop, self._lost, *self._fatal}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise self._lost.result()
            for fatal in self._fatal:
                if fatal.done():
                    raise fatal.result()
            return task.result() if task.done() else None
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1.0)

    async def ended(self) -> None:
        """Returns once a stop was asked for; raises as `unless`."""
        await self.unless(asyncio.get_running_loop().create_future())
