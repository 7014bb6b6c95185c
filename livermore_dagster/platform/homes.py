"""The homes that share one Redis and PostgreSQL: who is up, which of them runs Dagster's daemon, which
exchanges each was told to run."""

from __future__ import annotations

import threading
import time
from typing import Final, cast

import msgspec
import redis
import structlog

from livermore_dagster.control.lease import Lease, LeaseHolder, own_identity, read_holder
from livermore_dagster.control.roster import Roster
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import unreadable

__all__ = [
    "TTL_MS",
    "HomeBeat",
    "exchanges_of",
    "homes_up",
    "orchestrator",
    "tell_home",
]

log = structlog.get_logger(__name__)

TTL_MS: Final = 15_000
BEAT_S: Final = 4.0
_RETRY_S: Final = 1.0
_SOCKET_S: Final = 3.0


def homes_up(client: redis.Redis) -> list[LeaseHolder]:
    """The one that came first, first."""
    found = [msgspec.json.decode(member.text, type=LeaseHolder) for member in _roster(client).members()]
    return [one for one in found if not one.gone]


def orchestrator(client: redis.Redis) -> LeaseHolder | None:
    """The home that runs Dagster's daemon, None while none does."""
    return read_holder(client, keys.ORCHESTRATOR)


def tell_home(client: redis.Redis, home: str, exchange_id: int, *, runs: bool) -> None:
    """From now on, over its restarts too, this home runs the exchange or stands by for it; or it does not."""
    if runs:
        client.sadd(keys.home_exchanges(home), exchange_id)
    else:
        client.srem(keys.home_exchanges(home), exchange_id)


def exchanges_of(client: redis.Redis, home: str) -> set[int]:
    """Ids of those it was told to run."""
    return {int(one) for one in cast("set[str]", client.smembers(keys.home_exchanges(home)))}


def _roster(client: redis.Redis) -> Roster:
    return Roster(client, keys.HOMES, keys.home, TTL_MS)


class HomeBeat:
    """Says from a thread of its own that this home is up, and holds or seeks the orchestrator's lease."""

    def __init__(self, redis_url: str, token: str, home: str) -> None:
        """Raises BadSetting for an address that cannot be read."""
        try:
            self._redis = redis.Redis.from_url(
                redis_url, decode_responses=True, socket_timeout=_SOCKET_S, socket_connect_timeout=_SOCKET_S
            )
        except ValueError:
            raise unreadable() from None
        self.identity = own_identity(token, home, time.time_ns() // 1_000_000)
        self._lease = Lease(self._redis, keys.ORCHESTRATOR, self.identity, TTL_MS)
        self._held_until = 0.0
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="home-beat", daemon=True)

    @property
    def orchestrates(self) -> bool:
        """Whether this home may run the daemon now; never longer than its lease lasts, heard or not."""
        return time.monotonic() < self._held_until

    def start(self) -> None:
        """Beats once, then on. Raises RedisError."""
        self._beat()
        self._thread.start()

    def other(self) -> LeaseHolder | None:
        """Who runs the daemon instead of this home, as far as Redis tells."""
        try:
            found = orchestrator(self._redis)
        except redis.RedisError:
            return None
        return found if found is not None and found.token != self.identity.token else None

    def stop(self) -> None:
        """After the daemon has ended: another home may run it at once."""
        self._halt.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_SOCKET_S)
        self._held_until = 0.0
        try:
            self._lease.release()
            _roster(self._redis).leave(self.identity.token)
        except redis.RedisError as error:
            log.warning("lease_unreleased", error=type(error).__name__)  # it runs out by itself
        self._redis.close()

    def _run(self) -> None:
        pause = BEAT_S
        while not self._halt.wait(pause):
            try:
                self._beat()
                pause = BEAT_S
            except redis.RedisError as error:
                log.warning("home_unheard", error=type(error).__name__)
                pause = _RETRY_S

    def _beat(self) -> None:
        begun = time.monotonic()
        _roster(self._redis).attend(self.identity.token, self.identity.encode(), self.identity.since)
        if self._lease.hold():
            self._held_until = begun + TTL_MS / 1000
        else:
            self._held_until = 0.0
