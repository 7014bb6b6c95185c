"""Standbys, hand-over and lease on a real Valkey: who waits takes over, once, and all can see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
import redis

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.claim import Claim, read_claim
from livermore_dagster.control.lease import Lease, own_identity, read_holder
from livermore_dagster.control.network_log import EventKind, read_log
from livermore_dagster.control.standby import Standby
from livermore_dagster.control.standbys import read_standbys
from livermore_dagster.control.states import InstanceState
from livermore_dagster.errors import ClaimConflict, ClaimLost, NobodyStandsBy
from livermore_dagster.incidents import IncidentName
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.metrics import read_incidents_sync

PATIENCE_S = 30.0


def always() -> bool:
    return True


def until(holds: Callable[[], bool]) -> None:
    """Until a server or a thread has done it."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def client(redis_url) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        yield connection


def holder(client: redis.Redis, state: InstanceState = InstanceState.ACTIVE, **options) -> Claim:
    claim = Claim(client, 2, "binance", **options)
    claim.acquire()
    for step in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
        if claim.state is not state:
            claim.advance(step)
    return claim


def waiting(client: redis.Redis, wanted: Callable[[], bool] = always) -> Standby:
    """One that is listed."""
    found = Standby(client, 2, "binance", wanted=wanted, heartbeat_s=0)
    assert not found.look()
    return found


def story(client: redis.Redis) -> list[str]:
    """What was told beside states, oldest first."""
    return [event.event for event in reversed(read_log(client, "binance")) if event.event != "transition"]


def incidents(client: redis.Redis) -> list[str]:
    return [one.name for one in read_incidents_sync(client)]


def test_a_standby_is_listed_and_takes_what_expires(client) -> None:
    frozen = holder(client)
    standby = Standby(client, 2, "binance", wanted=always, look_s=0.02)
    taken = threading.Event()
    halt = threading.Event()
    thread = threading.Thread(target=lambda: standby.wait(halt) and taken.set())
    thread.start()
    try:
        until(lambda: [one.status.token for one in read_standbys(client, 2)] == [standby.token])
        client.pexpire(keys.status(2), 50)  # it has not beaten for as long as that
        assert taken.wait(PATIENCE_S)
    finally:
        halt.set()
        thread.join()
    assert read_claim(client, 2).status.token == standby.token
    assert read_standbys(client, 2) == []
    before = client.get(keys.status(2))
    with pytest.raises(ClaimLost):
        frozen.beat()
    frozen.release()
    assert client.get(keys.status(2)) == before
    assert story(client) == [EventKind.STANDBY, EventKind.OFFLINE, EventKind.TAKEN_OVER]
    told = next(one for one in read_log(client, "binance") if one.event == EventKind.OFFLINE)
    assert told.instance_id == frozen.status.instance_id
    assert "active" in told.message
    assert "last heard of" in told.message


def test_whoever_comes_back_is_refused_and_may_stand_by(client) -> None:
    holder(client)
    client.delete(keys.status(2))
    successor = waiting_took(client)
    with pytest.raises(ClaimConflict, match=r"held by .* since .* UTC"):
        Claim(client, 2, "binance").acquire()
    waiting(client)
    assert read_claim(client, 2).status.token == successor.status.token


def waiting_took(client: redis.Redis) -> Claim:
    """The claim that goes on where a standby took the exchange."""
    standby = Standby(client, 2, "binance", wanted=always)
    assert standby.look()
    claim = Claim(client, 2, "binance", token=standby.token)
    claim.acquire()
    return claim


def test_back_is_told_once_with_how_long_it_took(client) -> None:
    holder(client)
    client.delete(keys.status(2))
    claim = waiting_took(client)
    for step in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
        claim.advance(step)
    claim.advance(InstanceState.STOPPING)
    claim.advance(InstanceState.STOPPED)
    claim.release()
    holder(client)
    assert story(client) == [EventKind.OFFLINE, EventKind.TAKEN_OVER, EventKind.BACK]
    assert incidents(client) == [IncidentName.INSTANCE_OFFLINE, IncidentName.INSTANCE_BACK]


def test_an_end_that_was_meant_is_no_offline(client) -> None:
    claim = holder(client, InstanceState.IDLE)
    claim.release()
    holder(client, InstanceState.IDLE)
    assert story(client) == []


def test_a_standby_takes_nothing_that_shall_not_run(client) -> None:
    claim = holder(client)
    standby = waiting(client, wanted=lambda: False)
    claim.release()
    assert not standby.look()
    assert read_claim(client, 2) is None


def test_handed_over_it_is_free_at_no_time(client, redis_url) -> None:
    """A third one tries all the while and never gets it."""
    claim = holder(client)
    standby = waiting(client)
    heir = claim.appoint_successor()
    assert heir.token == standby.token
    free = threading.Event()
    end = threading.Event()

    def try_on() -> None:
        with redis.Redis.from_url(redis_url) as other:
            while not end.is_set():
                if other.set(keys.status(2), "{}", nx=True):
                    free.set()

    thread = threading.Thread(target=try_on)
    thread.start()
    claim.release()
    end.set()
    thread.join()
    assert not free.is_set()
    assert standby.look()
    assert read_claim(client, 2).status.token == standby.token
    assert client.pttl(keys.status(2)) > 40_000
    assert story(client) == [EventKind.STANDBY, EventKind.HANDED_OVER]


def test_without_a_standby_nothing_is_handed_over(client) -> None:
    claim = holder(client)
    with pytest.raises(NobodyStandsBy, match="autostart binance"):
        claim.appoint_successor()
    claim.beat()


def test_an_heir_that_is_gone_leaves_the_claim_free(client) -> None:
    claim = holder(client)
    standby = waiting(client)
    claim.appoint_successor()
    standby.leave()
    claim.release()
    assert read_claim(client, 2) is None


def test_a_claim_nobody_went_on_with_is_given_back(client) -> None:
    standby = Standby(client, 2, "binance", wanted=always)
    assert standby.look()
    standby.close()
    assert read_claim(client, 2) is None
    # Neither is one that its service has given back, and another holds by now.
    other = holder(client)
    standby.close()
    other.beat()


def test_the_log_forgets_after_ninety_days(client) -> None:
    key = keys.network_log("binance")
    old_ms = SystemClock().now_ms() - 91 * 86_400_000
    for number in range(300):  # whole nodes are trimmed, so some old ones may stay
        client.xadd(key, {"event": "old"}, id=f"{old_ms}-{number}")
    holder(client)
    assert client.xlen(key) < 150


# --- the lease


LEASE_MS = 60_000


def lease(client: redis.Redis, token: str) -> Lease:
    return Lease(client, keys.ORCHESTRATOR, own_identity(token, f"host:/{token}", 0), LEASE_MS)


def test_one_home_holds_the_lease_and_it_always_expires(client) -> None:
    one, two = lease(client, "one"), lease(client, "two")
    assert one.hold()
    assert not two.hold()
    assert one.hold()
    assert 0 < client.pttl(keys.ORCHESTRATOR) <= LEASE_MS
    client.pexpire(keys.ORCHESTRATOR, 50)
    until(two.hold)
    assert read_holder(client, keys.ORCHESTRATOR).token == "two"  # noqa: S105 - no secret
    assert not one.hold()
    one.release()
    assert two.hold()
    two.release()
    assert client.get(keys.ORCHESTRATOR) is None


def test_a_dead_process_of_this_machine_holds_no_lease(client) -> None:
    dead = own_identity("dead", "host:/dead", 0)
    gone = msgspec.structs.replace(dead, pid_start_time="1")
    client.set(keys.ORCHESTRATOR, gone.encode(), px=60_000)
    assert lease(client, "one").hold()
    assert read_holder(client, keys.ORCHESTRATOR).token == "one"  # noqa: S105 - no secret
