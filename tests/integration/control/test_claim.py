"""The claim on a real Valkey: one owner, always a TTL, and a late heartbeat changes nothing (R7, N3)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from livermore_dagster.clock import SystemClock
from livermore_dagster.control import claim as claim_module
from livermore_dagster.control.claim import Claim, read_claim
from livermore_dagster.control.network_log import EventKind, read_log
from livermore_dagster.control.registry import note_offline, read_instance
from livermore_dagster.control.standby import Standby
from livermore_dagster.control.standbys import read_standbys
from livermore_dagster.control.states import IllegalTransition, InstanceState, check_transition
from livermore_dagster.control.status import TTL_MS
from livermore_dagster.errors import ClaimConflict, ClaimLost, NobodyStandsBy
from livermore_dagster.stores.redis import keys

KEY = keys.status(2)
PATIENCE_S = 30.0
"""For what another thread does. Under a claim's TTL: what runs out by itself is not what is waited for."""


@pytest.fixture
def client(redis_url):
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        yield connection


def new_claim(client: redis.Redis, **options) -> Claim:
    return Claim(client, 2, "binance", **options)


def test_a_second_instance_is_told_who_holds_it(client) -> None:
    first = new_claim(client)
    first.acquire()
    with pytest.raises(ClaimConflict) as caught:
        new_claim(client).acquire()
    text = str(caught.value)
    assert first.status.hostname in text
    assert first.status.ip_address in text
    assert "UTC" in text
    assert "45 s" in text


def test_every_write_keeps_the_ttl_and_none_creates_the_key(client) -> None:
    claim = new_claim(client)
    claim.acquire()
    client.pexpire(KEY, 20_000)
    claim.update(symbol_count=7)
    claim.advance(InstanceState.STARTING)
    claim.record_error("no")
    assert 0 < client.pttl(KEY) <= 20_000
    claim.beat()
    assert client.pttl(KEY) > 20_000
    client.delete(KEY)
    for write in (claim.beat, lambda: claim.update(paused=True), lambda: claim.record_error("x")):
        with pytest.raises(ClaimLost):
            write()
    claim.release()
    assert client.get(KEY) is None


def test_a_former_owner_neither_overwrites_nor_deletes(client) -> None:
    former, owner = new_claim(client), new_claim(client)
    former.acquire()
    client.delete(KEY)
    owner.acquire()
    before = client.get(KEY)
    with pytest.raises(ClaimLost):
        former.beat()
    former.release()
    assert client.get(KEY) == before


def test_the_heartbeat_beats_in_its_own_thread_and_tells_a_loss(client) -> None:
    lost = threading.Event()
    claim = new_claim(client, heartbeat_s=0.05, on_lost=lambda _: lost.set())
    claim.acquire()
    claim.start_heartbeat()
    first = claim.status.last_heartbeat
    deadline = time.monotonic() + PATIENCE_S
    while claim.status.last_heartbeat == first and time.monotonic() < deadline:
        lost.wait(0.02)
    assert claim.status.last_heartbeat > first
    client.set(KEY, client.get(KEY).replace(claim.status.token, "f" * 32), keepttl=True)
    assert lost.wait(PATIENCE_S)
    assert isinstance(claim.lost, ClaimLost)


def test_unreachable_redis_ends_the_claim_after_its_ttl(client) -> None:
    lost = threading.Event()
    claim = new_claim(client, heartbeat_s=0.02, ttl_ms=100, on_lost=lambda _: lost.set())
    claim.acquire()
    claim._redis = redis.Redis(host="127.0.0.1", port=1)
    claim.start_heartbeat()
    assert lost.wait(PATIENCE_S)
    assert "could not be reached" in str(claim.lost)


_HOLD = """
import sys, redis
from livermore_dagster.control.claim import Claim
claim = Claim(redis.Redis.from_url(sys.argv[1], decode_responses=True), 2, "binance")
claim.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_dead_holder_of_this_machine_is_succeeded_at_once(client, redis_url) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, redis_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    facts = read_claim(client, 2)
    assert facts is not None
    assert facts.live
    with pytest.raises(ClaimConflict):
        new_claim(client).acquire()
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead but not reaped: a zombie is gone too
    assert read_claim(client, 2).gone
    successor = new_claim(client)
    successor.acquire()
    assert read_claim(client, 2).status.token == successor.status.token
    assert client.pttl(KEY) > TTL_MS - 5_000
    holder.communicate()


def test_patience_waits_for_an_overdue_holder_only(client) -> None:
    new_claim(client).acquire()
    with pytest.raises(ClaimConflict):
        new_claim(client).acquire(patience_s=60)  # its beat is not overdue
    client.pexpire(KEY, 300)
    new_claim(client).acquire(patience_s=PATIENCE_S)


def test_who_gives_up_while_he_waits_has_no_claim(client) -> None:
    first, second = new_claim(client), new_claim(client)
    first.acquire()
    client.pexpire(KEY, 20_000)  # its beat is overdue: it is waited for
    ended: list[Exception] = []

    def wait() -> None:
        try:
            second.acquire(patience_s=60)
        except (ClaimConflict, ClaimLost) as error:
            ended.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    second.give_up()
    waiting.join(timeout=PATIENCE_S)
    assert not waiting.is_alive()
    assert len(ended) == 1
    client.delete(KEY)
    with pytest.raises(ClaimLost, match="given up"):
        second.acquire()
    assert client.get(KEY) is None


def test_a_token_forgotten_by_its_own_process_is_dead(client) -> None:
    claim = new_claim(client)
    claim.acquire()
    claim_module._OWNED.discard(claim.status.token)
    new_claim(client).acquire()
    with pytest.raises(ClaimLost):
        claim.beat()


def test_transitions_are_told_and_errors_logged(client) -> None:
    claim = new_claim(client)
    claim.acquire()
    claim.advance(InstanceState.STARTING)
    with pytest.raises(IllegalTransition):
        claim.advance(InstanceState.ACTIVE)
    claim.record_error("no such host")
    claim.advance(InstanceState.IDLE, "start failed")
    claim.release()
    events = [(e.event, e.old, e.new, e.message) for e in read_log(client, "binance")]
    assert events == [
        ("transition", "starting", "idle", "start failed"),
        ("error", "", "", "no such host"),
        ("transition", "idle", "starting", ""),
    ]
    view = read_instance(client, 2, "binance")
    assert view.state == "idle"
    assert view.last_known is not None
    assert view.last_known.last_error == "no such host"


def test_public_facts_are_those_of_the_contract(client) -> None:
    import json

    claim = new_claim(client, run_id="run", admin=("a@b.c", "A"))
    claim.acquire()
    facts = json.loads(client.get(KEY))
    assert set(facts) >= {
        "exchangeId", "exchangeName", "instanceId", "connectionState", "hostname", "ipAddress", "adminEmail",
        "adminDisplayName", "symbolCount", "paused", "connectedAt", "registeredAt", "lastHeartbeat",
        "lastStateChange", "lastError", "lastErrorAt", "token", "machineId", "pid", "pidStartTime", "runId",
    }  # fmt: skip


HOMES = ("host:/srv/one", "host:/srv/two", "host:/srv/three")


class Place:
    """One home's instance of the exchange: nothing, a standby, an owner, or one that believes it is."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.claim: Claim | None = None
        self.standby: Standby | None = None


class NetworkMachine(RuleBasedStateMachine):
    """Instances of three homes on one host register, beat, stand by, stop, hand over, crash and expire.

    A crash is a token that its process no longer holds, as for a process that is gone; a frozen instance
    loses its claim by its TTL and comes back as if nothing had happened.
    """

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.places = [Place(home) for home in HOMES]
        self.owner: Claim | None = None
        """Who must hold the key now; None: nobody, or one that crashed."""
        self.dead = ""
        """Token of a crashed owner whose claim still stands."""
        self.told: set[str] = set()
        """Tokens of those that ended without a word and must be told of, once each, when somebody looks."""

    # --- what happens
    @rule(index=st.integers(0, 2))
    def register(self, index: int) -> None:
        place = self.places[index]
        if place.claim is not None or place.standby is not None:
            return
        claim = self.claim_of(place)
        if self.owner is not None:
            with pytest.raises(ClaimConflict, match=f"held by {self.owner.status.hostname}"):
                claim.acquire()
            return
        claim.acquire()
        self.took(place, claim)

    @rule(index=st.integers(0, 2))
    def stand_by(self, index: int) -> None:
        place = self.places[index]
        if place.claim is not None:
            return
        if place.standby is None:
            with homed(place.home):
                place.standby = Standby(self.client, 2, "binance", wanted=lambda: True, heartbeat_s=0)
        if not place.standby.look():
            assert self.owner is not None
            assert place.standby.token in [one.status.token for one in read_standbys(self.client, 2)]
            return
        self.standby_took(place)

    @rule(index=st.integers(0, 2), what=st.sampled_from(["beat", "update", "error"]))
    def write(self, index: int, what: str) -> None:
        claim = self.places[index].claim
        if claim is None:
            return
        before = self.client.get(KEY)
        try:
            match what:
                case "beat":
                    claim.beat()
                case "update":
                    claim.update(symbol_count=index)
                case _:
                    claim.record_error("x")
        except ClaimLost:
            assert claim is not self.owner
            assert self.client.get(KEY) == before
            self.places[index].claim = None  # it was refused: from now on it may stand by
        else:
            assert claim is self.owner

    @rule(index=st.integers(0, 2), new=st.sampled_from(InstanceState))
    def advance(self, index: int, new: InstanceState) -> None:
        claim = self.places[index].claim
        if claim is None:
            return
        old, before = claim.state, self.client.get(KEY)
        try:
            claim.advance(new)
        except IllegalTransition:
            assert claim.state is old
            assert self.client.get(KEY) == before
        except ClaimLost:
            assert claim is not self.owner
            assert self.client.get(KEY) == before
        else:
            check_transition(old, new)
            assert claim is self.owner

    @rule(index=st.integers(0, 2))
    def stop(self, index: int) -> None:
        place = self.places[index]
        if place.claim is None:
            return
        before = self.client.get(KEY)
        place.claim.release()
        if place.claim is self.owner:
            self.owner = None
            assert self.client.get(KEY) is None
        else:
            assert self.client.get(KEY) == before
        place.claim = None

    @rule()
    @precondition(lambda self: self.owner is not None)
    def hand_over(self) -> None:
        place = next(place for place in self.places if place.claim is self.owner)
        assert self.owner is not None
        waiting = [one for one in self.places if one.standby is not None]
        try:
            heir = self.owner.appoint_successor()
        except NobodyStandsBy:
            assert not waiting
            return
        self.owner.release()
        place.claim = self.owner = None
        chosen = next(one for one in waiting if one.standby is not None and one.standby.token == heir.token)
        assert read_claim(self.client, 2).status.token == heir.token  # passed in one step, free at no time
        assert chosen.standby is not None
        assert chosen.standby.look()
        self.standby_took(chosen)

    @rule()
    @precondition(lambda self: self.owner is not None)
    def crash(self) -> None:
        assert self.owner is not None
        self.dead = self.owner.status.token
        claim_module._OWNED.discard(self.dead)
        next(place for place in self.places if place.claim is self.owner).claim = None
        self.told.add(self.dead)
        self.owner = None

    @rule()
    def expire(self) -> None:
        """Time passes over a claim that was not renewed: its owner is frozen, or dead."""
        if self.client.delete(KEY) and self.owner is not None:
            self.told.add(self.owner.status.token)
        self.owner, self.dead = None, ""

    @rule()
    def notice(self) -> None:
        """The keeper and the notifier look, both at once."""
        view = read_instance(self.client, 2, "binance")
        now = SystemClock().now_ms()
        before = json.loads(self.client.get(keys.offline(2)) or "{}")
        untold = view.lost is not None and view.lost.token != before.get("token")
        told = [note_offline(self.client, view, now), note_offline(self.client, view, now)]
        assert told == [untold, False]
        assert view.lost is None or view.lost.token in self.told

    # --- what must be
    @invariant()
    def one_owner_with_a_ttl(self) -> None:
        facts = read_claim(self.client, 2)
        if facts is None:
            assert self.owner is None
            assert not self.dead
        elif self.owner is None:
            assert facts.gone
            assert facts.status.token == self.dead
        else:
            assert facts.status.token == self.owner.status.token
            assert facts.live

    @invariant()
    def no_key_without_a_ttl(self) -> None:
        for name in self.client.scan_iter("exchange:2:standby*"):
            assert 0 < self.client.pttl(name) <= TTL_MS
        if self.client.exists(KEY):
            assert 0 < self.client.pttl(KEY) <= TTL_MS

    @invariant()
    def the_log_tells_each_end_once(self) -> None:
        log = read_log(self.client, "binance", 10_000)
        offline = [event.instance_id for event in log if event.event == EventKind.OFFLINE]
        assert len(offline) == len(set(offline))
        assert {one.rpartition("-")[2] for one in offline} <= {token[:8] for token in self.told}
        assert all(event.home in HOMES for event in log)

    # --- steps of the above
    def claim_of(self, place: Place) -> Claim:
        with homed(place.home):
            return new_claim(self.client)

    def took(self, place: Place, claim: Claim) -> None:
        assert self.owner is None
        assert claim.status.home == place.home
        place.claim = self.owner = claim
        self.dead = ""

    def standby_took(self, place: Place) -> None:
        """Its service goes on under the standby's token, with a claim of its own."""
        assert place.standby is not None
        with homed(place.home):
            claim = new_claim(self.client, token=place.standby.token)
        claim.acquire()
        place.standby.leave()
        place.standby = None
        self.took(place, claim)


@contextmanager
def homed(home: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIVERMORE_HOME", home.partition(":")[2])
        patch.setattr("socket.gethostname", lambda: "host")
        yield


def test_never_two_owners_and_never_a_key_without_ttl(client) -> None:
    machine = type("Machine", (NetworkMachine,), {"client": client})
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
