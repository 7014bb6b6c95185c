"""How long to wait before the next connection: random at first, growing, capped, without end."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Delays in seconds. The first is random in [0, first); each further one is `factor` times longer, ± 25 %.

    It starts over only after a connection lived for `minimum_uptime`: a server that accepts and closes at
    once gets no storm.
    """

    def __init__(
        self,
        *,
        first: float = 3.0,
        factor: float = 1.618,
        cap: float = 60.0,
        minimum_uptime: float = 30.0,
        rng: random.Random | None = None,
    ) -> None:
        self._first = first
        self._factor = factor
        self._cap = cap
        self._minimum_uptime = minimum_uptime
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self.failures = 0

    def after(self, uptime_s: float) -> float:
        """Delay before the next attempt, when the last connection lived `uptime_s` (0 if it never opened)."""
        if uptime_s >= self._minimum_uptime:
            self.failures = 0
        self.failures += 1
        if self.failures == 1:
            return self._rng.random() * self._first
        # The exponent is bounded as well: an outage of days must not overflow a float.
        grown = self._first * self._factor ** min(self.failures - 1, 64)
        return min(self._cap, grown) * self._rng.uniform(0.75, 1.0)
