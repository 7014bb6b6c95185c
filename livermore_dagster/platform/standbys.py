"""This home's standby processes: one for each exchange it shall run while another home does (N6)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import redis

from livermore_dagster.control.claim import read_claim
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.child import Child, ChildSpec
from livermore_dagster.platform.homes import exchanges_of
from livermore_dagster.stores.redis.desired import read_desired_sync

__all__ = ["Standbys"]

LOOK_S = 1.0
REDIS_S = 2.0
STABLE_S = 60.0
PAUSE_MOST_S = 60.0


@dataclass
class _Post:
    """One exchange's standby. `failures` in a row, before which moment none is started again."""

    child: Child | None = None
    failures: int = 0
    not_before: float = 0.0


@dataclass
class Standbys:
    """Starts, restarts and ends them; their processes are among `children`, which the supervisor stops.

    `home`: as `control.process.home_name` says it inside of this home's processes. `autostart`: exchanges it
    runs, or stands by for, beside those it was told to by `livermore start`; `rows`: all there are.
    """

    redis_url: str
    home: str
    rows: Sequence[ExchangeRow]
    autostart: Collection[str]
    spec: Callable[[ExchangeRow], ChildSpec]
    children: list[Child]
    tell: Callable[[str], None]
    changed: Callable[[], None]
    _posts: dict[str, _Post] = field(default_factory=dict)
    _looked: float = float("-inf")

    def __post_init__(self) -> None:
        # The supervisor's thread never waits long for a server.
        self._redis = redis.Redis.from_url(
            self.redis_url, decode_responses=True, socket_timeout=REDIS_S, socket_connect_timeout=REDIS_S
        )

    def look(self) -> None:
        """At most once a second."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        try:
            told = exchanges_of(self._redis, self.home)
            for row in self.rows:
                post = self._posts.setdefault(row.name, _Post())
                self._see_to(row, post, now, own=row.name in self.autostart or row.id in told)
        except redis.RedisError:
            return  # what runs goes on; the others are looked at when Redis is back

    def close(self) -> None:
        self._redis.close()

    @property
    def running(self) -> list[Child]:
        return [post.child for post in self._posts.values() if post.child is not None]

    def _see_to(self, row: ExchangeRow, post: _Post, now: float, *, own: bool) -> None:
        child = post.child
        if child is not None:
            if child.running:
                child.look()
                # Who is the instance by now goes on, also where this home need not stand by any more.
                if not self._wanted(row) or not (own or self._is_instance(row, child)):
                    child.signal(signal.SIGTERM)
                return
            self._bury(post, child, now)
        if own and now >= post.not_before and self._wanted(row) and self._held_elsewhere(row):
            post.child = Child(self.spec(row))
            self.children.append(post.child)
            post.child.start()
            self.changed()
            self.tell(f"{row.name} is held by another home: this one stands by.")

    def _bury(self, post: _Post, child: Child, now: float) -> None:
        child.ended()
        if now - child.started_at > STABLE_S:
            post.failures = 0
        if child.exit_code:
            post.failures += 1
            post.not_before = now + min(PAUSE_MOST_S, 2.0**post.failures)
            self.tell(f"{child.spec.name} ended (exit code {child.exit_code}): {child.last_words()}")
        self.children.remove(child)
        post.child = None
        self.changed()

    def _wanted(self, row: ExchangeRow) -> bool:
        desired = read_desired_sync(self._redis, row.id)
        return desired is not None and desired.present

    def _is_instance(self, row: ExchangeRow, child: Child) -> bool:
        claim = read_claim(self._redis, row.id)
        return claim is not None and (claim.status.home, claim.status.pid) == (self.home, child.pid)

    def _held_elsewhere(self, row: ExchangeRow) -> bool:
        claim = read_claim(self._redis, row.id)
        return claim is not None and claim.live and claim.status.home != self.home
