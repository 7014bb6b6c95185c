"""Delays between attempts to connect: jittered, growing, capped, without end (P12)."""

from __future__ import annotations

import random

__all__ = ["STABLE_S", "Backoff"]

_FIRST_S = 0.5
_CAP_S = 60.0
STABLE_S = 30.0
_BREAKER = 5


class Backoff:
    """Forgets failures only after a connection has held for `stable_s`: a flapping one keeps backing off."""

    def __init__(self, draw: random.Random | None = None, *, stable_s: float = STABLE_S) -> None:
        self._stable_s = stable_s
        self._draw = draw or random.Random()  # noqa: S311 (jitter, not secrets)
        self.failures = 0

    @property
    def breaker_open(self) -> bool:
        """Five failures in a row: shown to people; attempts go on."""
        return self.failures >= _BREAKER

    def delay(self, uptime_s: float, *, retryable: bool = True, least_s: float = 0.0) -> float:
        """Seconds to wait after a connection that held for `uptime_s` (0 when it never came).

        `least_s`: the exchange said to stay away for so long; what is waited comes on top.
        """
        self.failures = 0 if uptime_s >= self._stable_s else self.failures + 1
        ceiling = _CAP_S if not retryable else min(_CAP_S, _FIRST_S * 2 ** min(max(0, self.failures - 1), 10))
        return least_s + ceiling * self._draw.uniform(0.5, 1.0)
