"""Waiting for what another task, process or server does, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(holds: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> None:
    """Returns once `holds()` is truthy. Raises TimeoutError when it never is within `seconds`.

    They are many because only a failure waits them out: the machine may stand still for a while.
    """
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - it happens elsewhere: there is no event of ours to wait for
            await asyncio.sleep(0.02)
