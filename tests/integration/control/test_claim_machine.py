"""Whatever instances of several homes do: one owner, always a TTL, each end told once (R7, N3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

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
            return Claim(self.client, 2, "binance")

    def took(self, place: Place, claim: Claim) -> None:
        assert self.owner is None
        assert claim.status.home == place.home
        place.claim = self.owner = claim
        self.dead = ""

    def standby_took(self, place: Place) -> None:
        """Its service goes on under the standby's token, with a claim of its own."""
        assert place.standby is not None
        with homed(place.home):
            claim = Claim(self.client, 2, "binance", token=place.standby.token)
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


def test_never_two_owners_and_never_a_key_without_ttl(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        machine = type("Machine", (NetworkMachine,), {"client": client})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=80,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
