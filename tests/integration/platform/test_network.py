"""Dagster's daemon of a home, under the lease that all homes share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from livermore_dagster.control.lease import own_identity
from livermore_dagster.platform import homes, network
from livermore_dagster.platform.child import Child, ChildSpec
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.network import Network
from livermore_dagster.stores.redis import keys

_DAEMON = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
folder = pathlib.Path(sys.argv[1])
(folder / "up").touch()
signal.sigwait({signal.SIGTERM})
(folder / "told-to-end").touch()
signal.pause()
"""
"""Says when it hears, and that it was told to end, over which it takes its time."""


class Home:
    """`told`: what its `up` printed."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.told: list[str] = []
        self.children: list[Child] = []
        self._folder = folder
        settings = Settings(folder, redis_url, "postgresql://nobody@/none?host=/nowhere", "sim:7")
        self.network = Network(settings, "own", self.children, self.told.append, int)
        self.network.join()
        self.network.begin(
            self._daemon, lambda row: pytest.fail(f"no standby of {row.name} was asked for"), (), ()
        )

    def _daemon(self) -> ChildSpec:
        command = (sys.executable, "-c", _DAEMON, str(self._folder))
        return ChildSpec("daemon", command, "", self._folder / "daemon.log", ready=lambda: True)

    def said(self, what: str) -> bool:
        return (self._folder / what).exists()

    def look_until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.told
            self.network.look()
            time.sleep(0.02)


@pytest.fixture
def home(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setattr(homes, "BEAT_S", 0.05)
    monkeypatch.setattr(network, "DAEMON_PATIENCE_S", 60.0)
    made = Home(redis_url, tmp_path)
    yield made
    for child in made.children:
        child.signal(9)
        child.ended()
    made.network.leave()


def test_a_lease_that_comes_back_while_the_daemon_ends_gets_a_new_daemon(
    home: Home, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis was away for as long as the lease lasts, and back before the process that was told to end had."""
    first = home.children[0]
    home.look_until(lambda: home.said("up"))
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        other = own_identity("other", "there:/srv/other", 0)
        client.set(keys.ORCHESTRATOR, other.encode())
        home.look_until(lambda: home.said("told-to-end"))
        client.delete(keys.ORCHESTRATOR)
        assert first.running
        home.look_until(lambda: "own" in (client.get(keys.ORCHESTRATOR) or ""))
    monkeypatch.setattr(network, "DAEMON_PATIENCE_S", 0.1)
    home.look_until(lambda: not first.running)
    home.look_until(lambda: [child.running for child in home.children] == [True])
    assert home.children[0] is not first
