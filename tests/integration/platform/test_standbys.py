"""For which exchanges a home stands by: those it autostarts and those it was told to start."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from livermore_dagster.control.claim import Claim
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform import standbys
from livermore_dagster.platform.child import Child, ChildSpec
from livermore_dagster.platform.homes import tell_home
from livermore_dagster.platform.standbys import LOOK_S, Standbys
from livermore_dagster.stores.redis.desired import Desired, write_desired_sync

COINBASE, BINANCE = row_named("coinbase"), row_named("binance")
OWN = "here:/srv/own"


@dataclass
class Home:
    """Its standbys are processes that only wait: when one is started and ended is what is judged."""

    client: redis.Redis
    folder: Path
    autostart: tuple[str, ...] = ()
    told: list[str] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        url = f"unix://{self.client.connection_pool.connection_kwargs['path']}"
        self.standbys = Standbys(
            url, OWN, (COINBASE, BINANCE), self.autostart, self._spec, self.children, self.told.append, int
        )

    def _spec(self, row: ExchangeRow) -> ChildSpec:
        command = (sys.executable, "-c", "import signal; signal.pause()")
        log = self.folder / f"{row.name}.log"
        return ChildSpec(f"standby {row.name}", command, "", log, ready=lambda: True, essential=False)

    def names(self) -> list[str]:
        return [child.spec.name for child in self.children]

    def look_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120 * LOOK_S
        while not holds():
            assert time.monotonic() < deadline, (self.names(), self.told)
            self.standbys.look()
            time.sleep(0.05)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        for row in (COINBASE, BINANCE):
            write_desired_sync(connection, row.id, Desired("running"))
        yield connection


@pytest.fixture
def make(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Home]]:
    monkeypatch.setattr(standbys, "REDIS_S", 60.0)
    made: list[Home] = []

    def one(*autostart: str) -> Home:
        made.append(Home(client, tmp_path, autostart))
        return made[-1]

    yield one
    for home in made:
        for child in home.children:
            child.signal(9)
            child.ended()
        home.standbys.close()


def held_elsewhere(client: redis.Redis, row: ExchangeRow) -> Claim:
    claim = Claim(client, row.id, row.name, ttl_ms=600_000)  # nobody beats here, and it does not run out
    claim.acquire()
    claim.update(home="there:/srv/other")
    return claim


def test_a_home_stands_by_for_what_it_autostarts_and_for_what_it_was_told_to_start(client, make) -> None:
    for row in (COINBASE, BINANCE):
        held_elsewhere(client, row)
    home = make("coinbase")
    home.look_until(lambda: home.names() == ["standby coinbase"])
    tell_home(client, OWN, BINANCE.id, runs=True)
    home.look_until(lambda: sorted(home.names()) == ["standby binance", "standby coinbase"])
    assert home.told[-1] == "binance is held by another home: this one stands by."
    tell_home(client, OWN, BINANCE.id, runs=False)
    home.look_until(lambda: home.names() == ["standby coinbase"])


def test_what_a_home_was_told_it_knows_after_a_restart(client, make) -> None:
    held_elsewhere(client, BINANCE)
    tell_home(client, OWN, BINANCE.id, runs=True)
    tell_home(client, "there:/srv/other", COINBASE.id, runs=True)
    home = make()
    home.look_until(lambda: home.names() == ["standby binance"])


def test_a_standby_that_has_become_the_instance_is_left_alone(client, make) -> None:
    claim = held_elsewhere(client, BINANCE)
    tell_home(client, OWN, BINANCE.id, runs=True)
    home = make()
    home.look_until(lambda: home.names() == ["standby binance"])
    claim.update(home=OWN, pid=home.children[0].pid)
    tell_home(client, OWN, BINANCE.id, runs=False)
    until = time.monotonic() + 3 * LOOK_S
    home.look_until(lambda: time.monotonic() > until)
    assert home.children[0].running
