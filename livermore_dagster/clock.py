"""Wall-clock time behind a port. Market logic never uses it: its time comes from the exchange's messages."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock", "seconds_until"]


class Clock(Protocol):
    """What timeouts, heartbeats and back-off wait on."""

    def now_ms(self) -> int:
        """Wall-clock epoch milliseconds, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def seconds_until(clock: Clock, at_ms: int) -> float:
    """Until the wall clock stands at `at_ms`; 0 where that has passed."""
    return max(0.0, (at_ms - clock.now_ms()) / 1000)
