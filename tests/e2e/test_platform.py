"""`livermore up` and the commands around it, on embedded servers: refusals, life, kill -9, the end."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.account_steps import files_with, fills_shown, shell_variables
from tests.e2e.platform_run import (
    COMMAND,
    ENDED_S,
    STARTED_S,
    Running,
    environment,
    free_port,
    livermore,
    processes_of,
    wait_for,
)

pytestmark = pytest.mark.xdist_group("platform")

ROOT = Path(__file__).parents[2]
NAMES = {
    "valkey", "postgresql", "simulator", "code server", "web server", "daemon",
    "worker boundary", "worker batch", "worker ingest", "notifier",
}  # fmt: skip
DOOR = httpx.Client(timeout=60)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that another OS user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="lv-e2e-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def running(place: Path) -> Iterator[Running]:
    found = Running(place / "home", "--simulate", "--seed", "5", "--speed", "10")
    try:
        found.wait_until_up()
        yield found
    finally:
        found.end()


# --- refusals


def test_an_unknown_exchange_starts_nothing(place: Path) -> None:
    done = livermore("up", "--home", str(place / "none"), "--autostart", "nasdaq")
    assert done.returncode == 2
    assert "'nasdaq'" in done.stderr
    assert "coinbase" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place / "none").exists()


def test_an_exchange_without_adapter_is_refused(place: Path) -> None:
    done = livermore("up", "--home", str(place / "none"), "--autostart", "kraken")
    assert done.returncode == 2
    assert "not active" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "yesterday", "--simulate"),
        ("--symbols", "0"),
        ("--seed", "3"),
        ("--nonsense",),
        ("--port", "x"),
    ],
)
def test_what_cannot_be_is_told(place: Path, arguments: tuple[str, ...]) -> None:
    done = livermore("up", "--home", str(place / "none"), *arguments)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = livermore("up", "--home", str(place / "port"), "--port", str(port), "--for", "1")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr
    assert processes_of(place / "port") == []


def test_a_home_that_cannot_be(place: Path) -> None:
    (place / "file").write_text("")
    done = livermore("up", "--home", str(place / "file" / "home"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "--home" in done.stderr


def test_nothing_runs(place: Path) -> None:
    for command in ("status", "down", "env"):
        done = livermore(command, "--home", str(place / "none"))
        assert done.returncode == 1
        assert "No platform runs" in done.stderr
    assert livermore("doctor", "--home", str(place / "none")).returncode == 0


# --- life


def test_every_process_is_shown_with_its_address(running: Running) -> None:
    status = running.status()
    assert {process["name"] for process in status["processes"]} == NAMES
    assert all(process["alive"] and process["memory_bytes"] > 0 for process in status["processes"])
    assert (status["provenance"], status["simulated"], status["speed"]) == ("sim:5", True, 10.0)
    assert set(status["simulator"]) == {"binance", "binance_us", "coinbase"}
    for doors in status["simulator"].values():
        assert DOOR.get(f"{doors['control_url']}/counters").status_code == 200
    assert DOOR.get(f"{status['addresses']['dagster']}/server_info").status_code == 200
    assert all(exchange["state"] == "idle" for exchange in status["exchanges"].values())
    assert DOOR.get(status["addresses"]["health"]).status_code == 200
    assert 'livermore_process_up{process="valkey"} 1.0' in DOOR.get(status["addresses"]["metrics"]).text


def test_only_loopback_is_listened_on(running: Running) -> None:
    up = psutil.Process(running.process.pid)
    listening: list[str] = []
    for process in up.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # runs and workers come and go
            connections = process.net_connections(kind="inet")
            listening += [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_the_doctor_finds_nothing_wrong(running: Running) -> None:
    done = livermore("doctor", "--json", "--home", str(running.home))
    found = json.loads(done.stdout)
    assert [one for one in found["findings"] if one["level"] == "fail"] == []
    assert done.returncode == 0
    assert {"redis", "eviction", "append-only", "schema", "clock binance"} <= {
        one["name"] for one in found["findings"]
    }


def test_a_shell_reaches_it(running: Running) -> None:
    script = f'eval "$("{sys.executable}" -m livermore_dagster.cli.app env --home "{running.home}")"; env'
    shown = subprocess.run(
        ["sh", "-c", script], env=environment(), capture_output=True, text=True, check=True
    ).stdout
    assert f"DAGSTER_HOME={running.home}/dagster" in shown
    assert f"LIVERMORE_HOME={running.home}" in shown
    assert "LIVERMORE_PROVENANCE=sim:5" in shown


def test_the_database_is_in_step(running: Running) -> None:
    assert livermore("db", "check", "--home", str(running.home)).returncode == 0


def test_a_new_fill_shows_in_the_fees_without_anyone_asking(running: Running) -> None:
    """Account and pipeline read together: no 429, and no secret anywhere in the home."""
    home = str(running.home)
    variables = shell_variables(running.home)
    names = "SIMULATED_COINBASE_KEY", "SIMULATED_COINBASE_SECRET"
    assert livermore("start", "coinbase", "--symbols", "3", "--home", home).returncode == 0
    added = subprocess.run(
        [*COMMAND, "account", "add", "coinbase", "--key-env", names[0], "--secret-env", names[1]],
        env=variables, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    status = running.status()
    dagster = status["addresses"]["dagster"]
    door = status["simulator"]["coinbase"]["control_url"]
    accounts = DOOR.get(f"{door}/accounts").json()["accounts"]

    def channel() -> str:
        done = livermore("account", "list", "--json", "--home", home)
        return str(json.loads(done.stdout)[0]["channel"])

    wait_for(lambda: channel() == "open", STARTED_S, "the user channel stays closed")
    wait_for(lambda: fills_shown(dagster) > 0, STARTED_S, "the history is not read")
    quiet = """{ runsOrError(filter: {statuses: [QUEUED, STARTING, STARTED], tags:
      [{key: "dagster/partition", value: "coinbase.1"}]}) { ... on Runs { count } } }"""

    def idle() -> bool:
        reply = DOOR.post(f"{dagster}/graphql", json={"query": quiet}).json()
        return reply["data"]["runsOrError"]["count"] == 0

    wait_for(idle, STARTED_S, "the account is read without end")
    before = fills_shown(dagster)
    wanted = {"account": accounts[0]["account"], "symbol": "BTC-USD", "side": "BUY", "size": "0.01"}
    assert DOOR.post(f"{door}/fill", json=wanted).status_code == 200
    wait_for(lambda: fills_shown(dagster) > before, STARTED_S, "the fill is not in fees/by_month")
    assert DOOR.get(f"{door}/counters").json()["http_429"] == 0
    secrets = [variables[names[1]], accounts[0]["secret"], accounts[0]["key"].rpartition("/")[2]]
    body = accounts[0]["secret"].splitlines()
    assert files_with(running.home, [*secrets, body[1]]) == []
    assert livermore("stop", "coinbase", "--home", home).returncode == 0


def test_a_second_up_says_so(running: Running) -> None:
    done = livermore(
        "up", "--simulate", "--seed", "5", "--home", str(running.home), "--port", str(free_port())
    )
    assert done.returncode == 1
    assert f"pid {running.process.pid}" in done.stderr
    assert "livermore down" in done.stderr
    assert running.process.poll() is None


def test_a_dead_child_is_started_again(running: Running) -> None:
    before = {process["name"]: process["pid"] for process in running.status()["processes"]}
    os.kill(before["daemon"], signal.SIGKILL)

    def again() -> bool:
        now = {process["name"]: process["pid"] for process in running.status()["processes"]}
        return now["daemon"] not in (None, before["daemon"])

    wait_for(again, ENDED_S, "the daemon stays dead")
    assert "daemon died" in running.log.read_text()


def test_down_ends_it_and_other_data_is_refused(running: Running) -> None:
    done = livermore("down", "--home", str(running.home))
    assert done.returncode == 0, done.stderr
    assert "does not stop" not in done.stdout + done.stderr
    running.process.wait(ENDED_S)
    assert processes_of(running.home) == []
    live = livermore("up", "--home", str(running.home), "--port", str(free_port()))
    assert live.returncode == 1
    assert "'sim:5'" in live.stderr
    other = livermore(
        "up", "--simulate", "--seed", "6", "--home", str(running.home), "--port", str(free_port())
    )
    assert other.returncode == 1
    assert "'sim:6'" in other.stderr
    assert processes_of(running.home) == []


# --- kill -9


def test_a_killed_up_leaves_nothing_and_starts_again(place: Path) -> None:
    home = place / "killed"
    first = Running(home, "--simulate", "--speed", "10")
    first.wait_until_up()
    first.process.kill()
    first.process.wait()
    wait_for(lambda: not processes_of(home), ENDED_S, "something outlives a killed up")
    again = Running(home, "--simulate", "--speed", "10")
    again.wait_until_up()
    # Now its guardian dies with it: the next command has to clean up.
    children = psutil.Process(again.process.pid).children()
    guardian = next(child for child in children if "livermore_dagster.platform.guardian" in child.cmdline())
    guardian.suspend()
    again.process.kill()
    again.process.wait()
    guardian.kill()
    assert processes_of(home)
    assert livermore("down", "--home", str(home)).returncode == 0
    wait_for(lambda: not processes_of(home), ENDED_S, "something outlives `down`")


# --- a plain user


def _plain_user_python(user: int) -> str:
    """An interpreter that a plain user may run: ours may lie in root's home."""
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            if (
                subprocess.run([candidate, "-c", ""], user=user, capture_output=True, check=False).returncode
                == 0
            ):
                return candidate
        except OSError:
            continue
    raise AssertionError("no interpreter that the user nobody may run")


def _as_plain_user(*arguments: str) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {
        "capture_output": True,
        "text": True,
        "timeout": 240,
        "cwd": "/",
        "check": False,
    }
    if os.geteuid() != 0:
        return subprocess.run([*COMMAND, *arguments], env=environment(), **options)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    nobody = pwd.getpwnam("nobody")
    return subprocess.run(
        [_plain_user_python(nobody.pw_uid), *COMMAND[1:], *arguments],
        env=environment(PYTHONPATH=f"{ROOT}:{packages}", HOME="/nonexistent"),
        user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], **options,
    )  # fmt: skip


def test_a_plain_user_needs_no_more(place: Path) -> None:
    home = place / "plain"
    home.mkdir()
    if os.geteuid() == 0:
        shutil.chown(home, "nobody")
    done = _as_plain_user(
        "up", "--simulate", "--home", str(home), "--port", str(free_port()), "--for", "1", "--json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["errors"] == []
    assert {"exchanges", "runs", "alerts", "latency_ms", "window", "errors"} <= set(report)
    assert processes_of(home) == []


def test_an_unwritable_home(place: Path) -> None:
    home = place / "readonly"
    home.mkdir(mode=0o555)
    done = _as_plain_user("up", "--simulate", "--home", str(home))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert list(home.iterdir()) == []
