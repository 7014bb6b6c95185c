"""However an instance came to run, it monitors what is listed, and streams that, each symbol once (C3)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from livermore_dagster.control.standbys import read_standbys
from livermore_dagster.control.states import InstanceState
from livermore_dagster.ingest import timekeeper
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice, write_desired_sync
from tests.integration.ingest.agreeing import EXCHANGE, agree, ranked, running, set_symbols
from tests.integration.ingest.commanding import becomes, done, status
from tests.integration.ingest.played import IDS, Platform, played, until

START_MS = 1_767_655_800_000
USERS = ("ana", "bo", "cy", "di", "ed")


@contextmanager
def process(market: Platform, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """An instance as the keeper and people start it."""
    command = [sys.executable, "-m", "livermore_dagster.ingest", EXCHANGE, *more]
    started = subprocess.Popen(command, env=market.environment(), stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def standing_by(market: Platform) -> bool:
    with market.redis() as client:
        return bool(read_standbys(client, IDS[EXCHANGE]))


def active_under(market: Platform, started: subprocess.Popen[bytes], seconds: float) -> None:
    """Until this process holds the exchange and is warm."""

    def holds() -> bool:
        assert started.poll() is None, f"process {started.pid} ended with {started.returncode}"
        if market.state(EXCHANGE) == "none":
            return False
        now = status(market)
        return (now["pid"], now["connectionState"]) == (started.pid, "active")

    until(holds, seconds, f"process {started.pid} is active")


def assert_asks_nothing(market: Platform) -> None:
    """For longer than a connection that is gone counts as alive, after which REST would tell the time.

    Looked at again where something was still under way.
    """
    counted = [market.ask(EXCHANGE, "counters")["requests"]]
    while len(counted) < 2 or (counted[-1] != counted[-2] and len(counted) < 10):
        over = time.monotonic() + 4.0
        until(lambda over=over: time.monotonic() > over, 60, "time passes")
        counted.append(market.ask(EXCHANGE, "counters")["requests"])
    assert counted[-1] == counted[-2], counted


def test_ways_of_starting_in_short(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timekeeper, "_REST_CLOCK_S", 0.2)
    with played(redis_url, database_url, [EXCHANGE], 1.0, START_MS, symbols=20) as market:
        names = ranked(market)
        # Six wishes of three users: two of them of two, two among the most traded anyway.
        wanted = {"ana": [names[1], names[10]], "bo": [names[10], names[11]], "cy": [names[2], names[11]]}
        asyncio.run(set_symbols(market, wanted))
        with running(market, Desired("idle")):
            assert done(market, "start", {"top": 5}, sub="ana") == {"state": "starting"}
            first = agree(market)
            assert len(first) == 7
            becomes(market, InstanceState.ACTIVE)
            assert done(market, "switch-mode", {"mode": "position-monitor"}, sub="ana")["symbols"] == 0
            assert agree(market) == []
            assert_asks_nothing(market)
            assert done(market, "switch-mode", {"mode": "scalper-macdv"}, sub="ana")["symbols"] == 7
            assert agree(market) == first
        # As an autostart leaves it wanted.
        with running(market, Desired("running", SymbolChoice(top=5), "bo")):
            assert agree(market) == first


def changed_and_back(market: Platform, first: list[str], new: str) -> None:
    """Whatever command changes what is monitored, and changes it back."""
    many = len(first)
    asyncio.run(set_symbols(market, {"extra": [new]}))
    assert done(market, "reload-settings", sub="ana")["symbols"] == many + 1
    assert set(agree(market)) == {*first, new}
    asyncio.run(set_symbols(market, {"extra": []}))
    assert agree(market) == first
    assert done(market, "add-symbol", {"symbol": new}, sub="ana")["symbols"] == many + 1
    assert set(agree(market)) == {*first, new}
    assert done(market, "remove-symbol", {"symbol": new}, sub="ana")["symbols"] == many
    assert done(market, "switch-mode", {"mode": "position-monitor"}, sub="ana")["symbols"] == 0
    assert agree(market) == []
    assert done(market, "switch-mode", {"mode": "scalper-macdv"}, sub="ana")["symbols"] == many
    assert agree(market) == first


@pytest.mark.soak
@pytest.mark.timeout(2_400)
def test_500_symbols_and_60_of_5_users_in_every_way_of_starting(redis_url: str, database_url: str) -> None:
    with played(redis_url, database_url, [EXCHANGE], 1.0, START_MS, symbols=600) as market:
        names = ranked(market)
        # Twelve each, six of them the next user's too; some are among the 500 anyway.
        own = {sub: names[470 + 12 * place :][:12] for place, sub in enumerate(USERS)}
        wanted = {
            sub: [*symbols[:6], *own[USERS[place - 1]][6:]]
            for place, (sub, symbols) in enumerate(own.items())
        }
        assert sum(map(len, wanted.values())) == 60
        asyncio.run(set_symbols(market, wanted))
        with market.redis() as client:
            write_desired_sync(client, IDS[EXCHANGE], Desired("idle"))
        with process(market) as first:
            until(lambda: market.state(EXCHANGE) == "idle", 30, "idle")
            assert done(market, "start", {"top": 500}, sub="ana") == {"state": "starting"}
            active_under(market, first, 600)
            monitored = agree(market, 120)
            assert len(monitored) > 500
            assert status(market)["symbolCount"] == len(monitored)
            changed_and_back(market, monitored, names[560])
            first.terminate()
            first.wait(15)
        with process(market) as again:  # as an autostart, or the keeper after a clean end
            active_under(market, again, 300)
            assert agree(market, 120) == monitored
            again.kill()
            again.wait()
        with process(market) as kept:  # whom nobody stands by yet: else either may have it
            active_under(market, kept, 300)
            assert agree(market, 120) == monitored
            with process(market, "--standby") as heir:
                until(lambda: standing_by(market), 30, "somebody stands by")
                kept.kill()
                kept.wait()
                active_under(market, heir, 300)
                assert agree(market, 120) == monitored
                with process(market, "--standby") as next_one:
                    until(lambda: standing_by(market), 30, "another stands by")
                    assert done(market, "hand-over", sub="ana")["to"]
                    active_under(market, next_one, 300)
                    assert agree(market, 120) == monitored
        assert market.counters(EXCHANGE).get("http_429", 0) == 0
