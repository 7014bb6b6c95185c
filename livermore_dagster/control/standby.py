"""Waiting for an exchange that another instance holds, seen by all; taking it once it is free (N6)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import redis
import structlog

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.control.claim import Claim, read_claim
from livermore_dagster.control.network_log import EventKind, log_event
from livermore_dagster.control.registry import note_offline, read_instance
from livermore_dagster.control.standbys import standby_roster
from livermore_dagster.control.status import HEARTBEAT_S, TTL_MS, InstanceStatus
from livermore_dagster.errors import ClaimConflict

__all__ = ["LOOK_S", "Standby"]

log = structlog.get_logger(__name__)

LOOK_S = 0.5
"""How often it looks whether the exchange is free: a claim that expires is held anew within this."""


class Standby:
    """Waits in the thread that calls `wait`. Whoever goes on with its claim takes its `token` on.

    `wanted` says whether the exchange shall be held at all: while it shall not, nothing is taken.
    """

    def __init__(
        self,
        client: redis.Redis,
        exchange_id: int,
        exchange_name: str,
        *,
        wanted: Callable[[], bool],
        clock: Clock | None = None,
        ttl_ms: int = TTL_MS,
        heartbeat_s: float = HEARTBEAT_S,
        look_s: float = LOOK_S,
    ) -> None:
        self._redis = client
        self._id = exchange_id
        self._name = exchange_name
        self._wanted = wanted
        self._clock = clock or SystemClock()
        self._heartbeat_s = heartbeat_s
        self._look_s = look_s
        self._claim = Claim(client, exchange_id, exchange_name, clock=self._clock, ttl_ms=ttl_ms)
        self._roster = standby_roster(client, exchange_id, ttl_ms)
        self._since_ms = self._clock.now_ms()
        self._attended = float("-inf")
        self._told = False

    @property
    def token(self) -> str:
        return self._claim.status.token

    def wait(self, halt: threading.Event) -> bool:
        """Whether the claim was taken; False when `halt` came first. Redis may go away meanwhile."""
        try:
            while not halt.is_set():
                try:
                    if self.look():
                        return True
                except redis.RedisError as error:
                    log.warning("standby_waits", exchange=self._name, error=type(error).__name__)
                halt.wait(self._look_s)
            return False
        finally:
            self.leave()

    def close(self) -> None:
        """Gives back a claim that whoever went on with it did not: it could not even begin."""
        try:
            self._claim.release()
        except redis.RedisError as error:
            log.warning("claim_unreleased", exchange=self._name, error=type(error).__name__)

    def look(self) -> bool:
        """Once: says that it is there, notices who has gone, takes what is free; whether it has the claim."""
        now = self._clock.now_ms()
        claim = read_claim(self._redis, self._id)
        passed = claim is not None and claim.status.token == self.token
        held = claim is not None and claim.live
        if not passed and (held or not self._wanted()):
            self._attend(now, claim.status if claim is not None else None)
            return False
        note_offline(self._redis, read_instance(self._redis, self._id, self._name), now)
        try:
            self._claim.acquire()
        except ClaimConflict:
            return False  # another was faster
        return True

    def _attend(self, now: int, holder: InstanceStatus | None) -> None:
        if self._clock.monotonic() - self._attended < self._heartbeat_s:
            return
        status = self._claim.status
        status.registered_at, status.last_heartbeat = self._since_ms, now
        self._roster.attend(status.token, status.encode(), self._since_ms)
        self._attended = self._clock.monotonic()
        if not self._told and holder is not None:
            self._told = True
            words = f"{status.place} stands by while {holder.place} holds it."
            log_event(self._redis, status, EventKind.STANDBY, now, words)
            log.info("standing_by", exchange=self._name, holder=holder.place)

    def leave(self) -> None:
        """It waits no more."""
        try:
            self._roster.leave(self.token)
        except redis.RedisError as error:
            log.warning("standby_unlisted_later", exchange=self._name, error=type(error).__name__)
