"""The claim on a real Valkey: one owner, always a TTL, and a late heartbeat changes nothing (R7, N3)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest
import redis

from livermore_dagster.control import claim as claim_module
from livermore_dagster.control.claim import Claim, read_claim
from livermore_dagster.control.network_log import read_log
from livermore_dagster.control.registry import read_instance
from livermore_dagster.control.states import IllegalTransition, InstanceState
from livermore_dagster.control.status import TTL_MS
from livermore_dagster.errors import ClaimConflict, ClaimLost
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
    claim = new_claim(client, run_id="run", admin=("a@b.c", "A"))
    claim.acquire()
    facts = json.loads(client.get(KEY))
    assert set(facts) >= {
        "exchangeId", "exchangeName", "instanceId", "connectionState", "hostname", "ipAddress", "adminEmail",
        "adminDisplayName", "symbolCount", "paused", "connectedAt", "registeredAt", "lastHeartbeat",
        "lastStateChange", "lastError", "lastErrorAt", "token", "machineId", "pid", "pidStartTime", "runId",
    }  # fmt: skip
