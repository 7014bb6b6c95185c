"""The exchanges' limits, kept in real time: weight windows with bans, request buckets, message rates."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["RAW_WINDOW_S", "MessageRate", "RequestBucket", "Verdict", "WeightWindow"]

RAW_WINDOW_S = 300
"""exchangeInfo states RAW_REQUESTS per five minutes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a limit says of one request: status 200, 429 or 418, and how long to stay away (seconds)."""

    status: int
    used: int
    retry_after_s: float = 0.0
    banned_until_ms: int = 0
    is_raw: bool = False
    """It is the number of requests that is too large, not their weight."""


class WeightWindow:
    """Binance's REQUEST_WEIGHT: so much weight per calendar minute; who goes on after 429 is banned with 418.

    The first ban lasts `ban_s`, each next one twice as long, and every request during a ban adds
    `ban_s` / 12, up to three days in all. Beside it, RAW_REQUESTS: at most `raw_limit` requests per five
    minutes, whatever their weight.
    """

    LONGEST_BAN_S = 3 * 86_400.0

    def __init__(
        self,
        limit: int,
        *,
        raw_limit: int,
        refusals: int = 10,
        ban_s: float = 120.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.limit, self.raw_limit, self.refusals, self.ban_s = limit, raw_limit, refusals, ban_s
        self._now = now
        self._window = -1
        self._used = 0
        self._refused = 0
        self._bans = 0
        self._banned_until = 0.0
        self._raw_window = -1
        self._raw = 0
        self.under_way_s = 1.0
        """Requests that come so soon after an ordered 429 were under way before it could be read."""
        self._shut_from = self._shut_until = 0.0

    def take(self, weight: int) -> Verdict:
        now = self._now()
        window = int(now // 60)
        if window != self._window:
            self._window, self._used, self._refused = window, 0, 0
        if now < self._banned_until:
            self._extend(now, self._banned_until - now + self.ban_s / 12)
            return self._ban(now)
        if int(now // RAW_WINDOW_S) != self._raw_window:
            self._raw_window, self._raw = int(now // RAW_WINDOW_S), 0
        self._raw += 1
        self._used += weight
        if self._raw > self.raw_limit:
            return self._refuse(now, RAW_WINDOW_S - now % RAW_WINDOW_S, is_raw=True)
        if self._used > self.limit:
            return self._refuse(now, 60.0 - now % 60)
        if self._shut_from <= now < self._shut_until:
            return self._refuse(now, self._shut_until - now)
        return Verdict(200, self._used)

    def _refuse(self, now: float, seconds: float, *, is_raw: bool = False) -> Verdict:
        self._refused += 1
        if self._refused > self.refusals:
            self._extend(now, self.ban_s * 2**self._bans)
            self._bans += 1
            return self._ban(now)
        return Verdict(429, self._used, seconds, is_raw=is_raw)

    def shut(self, seconds: float) -> Verdict:
        """429 to everything for so long; who goes on meanwhile is banned as always."""
        now = self._now()
        self._shut_from, self._shut_until = now + self.under_way_s, now + seconds
        return self._refuse(now, seconds)

    def eat(self, weight: int) -> None:
        """Weight used by someone else behind the same address."""
        if self.take(0).status == 200:
            self._used += weight

    def ban(self, seconds: float) -> None:
        """Bans for so long, or longer where a ban already lasts longer."""
        now = self._now()
        self._extend(now, max(seconds, self._banned_until - now))

    def _extend(self, now: float, seconds: float) -> None:
        self._banned_until = now + min(seconds, self.LONGEST_BAN_S)

    def _ban(self, now: float) -> Verdict:
        until = self._banned_until
        return Verdict(418, self._used, until - now, int(until * 1000))


class RequestBucket:
    """Coinbase's public limit: `rate` requests a second, with a burst of `burst` after a rest."""

    def __init__(self, rate: float, burst: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst = rate, burst
        self._now = now
        self._tokens = burst
        self._at = now()

    @property
    def remaining(self) -> int:
        return int(self._tokens)

    def eat(self, requests: int) -> None:
        """Requests of someone else behind the same address; beyond what is left they are refused to him."""
        self._tokens = max(0.0, self._tokens - requests)

    def take(self) -> Verdict:
        now = self._now()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1.0:
            return Verdict(429, 0, (1.0 - self._tokens) / self.rate)
        self._tokens -= 1.0
        return Verdict(200, 0)


class MessageRate:
    """At most `limit` events within any `per_s` seconds."""

    def __init__(self, limit: int, per_s: float = 1.0, *, now: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.per_s = limit, per_s
        self._now = now
        self._times: deque[float] = deque()

    def allow(self) -> bool:
        now = self._now()
        while self._times and now - self._times[0] >= self.per_s:
            self._times.popleft()
        if len(self._times) >= self.limit:
            return False
        self._times.append(now)
        return True
