"""Servers and processes as `up` runs them, one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from livermore_dagster.errors import (
    AlreadyRunning,
    HomeNotUsable,
    PlatformError,
    PortInUse,
    ProvenanceMismatch,
)
from livermore_dagster.platform.child import Child, ChildSpec, ChildState
from livermore_dagster.platform.children import child_environment
from livermore_dagster.platform.embedded import EmbeddedPostgres, EmbeddedValkey
from livermore_dagster.platform.home import SOCKET_PATH_MAX, Home, check_port
from livermore_dagster.platform.processes import (
    TOKEN,
    ProcessId,
    RunRecord,
    end_processes,
    read_record,
    write_record,
)


def until(event: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not event():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run_until_ready(child: Child) -> None:
    child.start()
    until(lambda: child.look() or child.state is ChildState.READY)


def spec(tmp_path: Path, code: str, **more: object) -> ChildSpec:
    return ChildSpec(
        "thing", (sys.executable, "-c", code), "", tmp_path / "log", environment=dict(os.environ),
        **{"ready": lambda: True, **more},
    )  # type: ignore[arg-type]  # fmt: skip


def test_valkey_keeps_what_it_acknowledged_over_a_kill(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    valkey = EmbeddedValkey(tmp_path / "valkey", home.sockets / "valkey")
    child = Child(
        ChildSpec(
            "valkey", tuple(valkey.command()), valkey.url, tmp_path / "log", valkey.ready,
            environment=child_environment({}), prepare=valkey.prepare,
        )
    )  # fmt: skip
    run_until_ready(child)
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        client.set("kept", "yes")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("port") == {"port": "0"}
        child.signal(signal.SIGKILL)
    until(child.look)
    child.restart()
    until(lambda: child.look() or child.state is ChildState.READY)
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        assert client.get("kept") == "yes"
    assert child.restarts == 1
    child.signal(signal.SIGTERM)
    until(lambda: not child.running)


@pytest.mark.parametrize("deep", [False, True], ids=["short home", "home longer than a socket's path may be"])
def test_postgresql_lives_in_any_home(deep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="lv-home-"))
    path = folder / ("a-long-way-down" * 8) if deep else folder / "home"
    home = Home(path)
    home.prepare()
    assert len(os.fsencode(home.sockets / "pg" / ".s.PGSQL.5432")) <= SOCKET_PATH_MAX
    postgres = EmbeddedPostgres(path / "postgres" / "data", home.sockets / "pg")
    child = Child(
        ChildSpec(
            "postgresql", tuple(postgres.command()), "", path / "logs" / "log", postgres.ready,
            environment=child_environment({}), os_user=postgres.os_user, prepare=postgres.prepare,
        )
    )  # fmt: skip
    run_until_ready(child)
    postgres.ensure_database()
    postgres.ensure_database()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    child.signal(signal.SIGINT)
    until(lambda: not child.running)
    shutil.rmtree(folder)
    shutil.rmtree(home.sockets, ignore_errors=True)


def test_a_child_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "print('cannot'); raise SystemExit(3)", ready=lambda: False))
    child.start()

    def dies_too_often() -> None:
        while True:
            until(child.look)
            child.restart()

    with pytest.raises(PlatformError, match=r"exit code 3.*cannot"):
        dies_too_often()
    assert child.restarts == 5
    assert child.state is ChildState.FAILED


def test_a_child_that_never_is_ready_is_told(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "import time; time.sleep(60)", ready=lambda: False, start_timeout_s=0.3))
    child.start()
    with pytest.raises(PlatformError, match="was not ready"):
        until(child.look)
    child.signal(signal.SIGKILL)
    until(lambda: not child.running)


def test_all_of_a_family_is_ended_and_nobody_else(tmp_path: Path) -> None:
    token = uuid.uuid4().hex
    straggler = "import time; print('ready', flush=True); time.sleep(60)"
    family = (
        "import subprocess, sys, time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"subprocess.Popen([sys.executable, '-c', {straggler!r}], start_new_session=True); time.sleep(60)"
    )
    head = subprocess.Popen(
        [sys.executable, "-c", family], env={**os.environ, TOKEN: token}, start_new_session=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    assert head.stdout is not None
    assert head.stdout.readline() == b"ready\n"
    record = RunRecord(token, ProcessId.of("up", os.getpid()), (ProcessId.of("head", head.pid),))
    write_record(tmp_path / "record", record)
    assert read_record(tmp_path / "record") == record
    assert end_processes(record, patience_s=1.0) == ["head", "straggler"]
    assert head.wait(60) == -signal.SIGKILL
    assert stranger.poll() is None
    assert end_processes(record) == []
    stranger.kill()
    stranger.wait()


def test_a_reused_pid_is_nobody_of_ours() -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    record = RunRecord("", ProcessId("up", os.getpid(), ""), (ProcessId("old", stranger.pid, "1"),))
    assert end_processes(record, patience_s=0.2) == []
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_guardian_ends_what_a_killed_up_left(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    path = tmp_path / "processes.json"
    write_record(
        path, RunRecord("none", ProcessId.of("up", os.getpid()), (ProcessId.of("child", child.pid),))
    )
    guardian = subprocess.Popen(
        [sys.executable, "-m", "livermore_dagster.platform.guardian", str(path)], stdin=subprocess.PIPE
    )
    assert guardian.stdin is not None
    guardian.stdin.close()
    assert guardian.wait(60) == 0
    assert child.wait(60) in (-signal.SIGTERM, -signal.SIGKILL), "killed where it takes longer than it may"
    assert not path.exists()


def test_one_up_holds_a_home(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    first.prepare()
    first.lock()
    assert second.holder() == os.getpid()
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_a_home_keeps_its_provenance(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.stamp("sim:7")
    home.stamp("sim:7")
    with pytest.raises(ProvenanceMismatch, match="'sim:7' data, this start is 'live'"):
        home.stamp("live")


def test_a_home_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeNotUsable, match="cannot be written"):
        Home(tmp_path / "file" / "home").prepare()


def test_a_taken_port(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortInUse, match=str(taken.getsockname()[1])):
            check_port(taken.getsockname()[1], "--port")
