"""kill -9 of what carries an exchange: the run ends, the claim is taken anew, the flow goes on."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from livermore_dagster.control.claim import read_claim
from livermore_dagster.control.status import ClaimFacts
from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.redis.metrics import read_counters_sync
from tests.e2e.platform_run import Running, livermore, wait_for

BINANCE = 2
AGAIN_S = 60.0
AWAY_S = 8.0


class Exchange:
    """One exchange of a running platform, as its claim, its runs and its counters show it."""

    def __init__(self, running: Running) -> None:
        self.running = running

    def claim(self) -> ClaimFacts | None:
        settings = Settings.discover(self.running.home)
        try:
            with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
                found = read_claim(client, BINANCE)
        except redis.ConnectionError:
            return None
        return found if found is not None and found.live else None

    def active(self) -> ClaimFacts | None:
        found = self.claim()
        return found if found is not None and found.status.connection_state.value == "active" else None

    def closes(self) -> int:
        settings = Settings.discover(self.running.home)
        with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
            return read_counters_sync(client, BINANCE).get("closes", 0)

    def run_status(self, run_id: str) -> str:
        reply = httpx.post(
            f"http://127.0.0.1:{self.running.port}/graphql",
            json={
                "query": "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }",
                "variables": {"id": run_id},
            },
            timeout=20,
        )
        return str(reply.json()["data"]["runOrError"]["status"])

    def pid_of(self, name: str) -> int:
        """As `status` says, as soon as it can: a PostgreSQL just killed is still recovering."""
        found: dict[str, Any] = {}

        def told() -> bool:
            done = livermore("status", "--json", "--home", str(self.running.home))
            if done.returncode == 0:
                found.update({one["name"]: one["pid"] for one in json.loads(done.stdout)["processes"]})
            return found.get(name) is not None

        wait_for(told, 30, f"status never shows {name}")
        return int(found[name])

    def flows(self) -> None:
        before = self.closes()
        wait_for(lambda: self.closes() > before, 60, "no candle closes any more")


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    with tempfile.TemporaryDirectory(prefix="lv-kill-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        running = Running(
            Path(folder) / "home",
            *("--simulate", "--speed", "60", "--symbols", "4", "--autostart", "binance"),
            *("--from", "2026-01-05T23:30:00Z"),
        )
        try:
            running.wait_until_up()
            found = Exchange(running)
            wait_for(lambda: found.active() is not None, 90, running.log.read_text())
            yield found
        finally:
            running.end()


def killed(exchange: Exchange, pid: int) -> str:
    """The run that held the claim when `pid` was killed; returns when another holds it."""
    held = exchange.claim()
    assert held is not None
    run_id = held.status.run_id
    assert run_id is not None
    os.kill(pid, signal.SIGKILL)

    def anew() -> bool:
        now = exchange.claim()
        return now is not None and now.status.run_id != run_id

    wait_for(anew, AGAIN_S, "nobody claims the exchange anew")
    return run_id


def test_the_celery_child(exchange: Exchange) -> None:
    held = exchange.active()
    assert held is not None
    run_id = killed(exchange, held.status.pid)
    wait_for(lambda: exchange.run_status(run_id) == "FAILURE", 30, "the dead run does not read FAILURE")
    wait_for(lambda: exchange.active() is not None, 60, "not active again")
    exchange.flows()


def test_the_celery_parent(exchange: Exchange) -> None:
    held = exchange.active()
    assert held is not None
    parent = psutil.Process(held.status.pid).ppid()
    run_id = killed(exchange, parent)
    wait_for(
        lambda: exchange.run_status(run_id) in ("CANCELED", "FAILURE"), 30, "the dead run is never ended"
    )
    wait_for(lambda: exchange.active() is not None, 60, "not active again")
    exchange.flows()


@pytest.mark.parametrize("server", ["valkey", "postgresql"])
def test_a_server_is_away_for_eight_seconds(exchange: Exchange, server: str) -> None:
    """Stopped, not killed: the supervisor would start a dead one at once."""
    pid = exchange.pid_of(server)
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        process.suspend()
    time.sleep(AWAY_S)
    for process in family:
        process.resume()
    wait_for(lambda: exchange.active() is not None, 60, f"not active after {server} came back")
    exchange.flows()


@pytest.mark.parametrize("server", ["valkey", "postgresql", "worker boundary", "daemon"])
def test_kill_of_a_process_of_the_platform(exchange: Exchange, server: str) -> None:
    os.kill(exchange.pid_of(server), signal.SIGKILL)
    wait_for(lambda: exchange.active() is not None, 60, f"not active after {server} was killed")
    exchange.flows()
