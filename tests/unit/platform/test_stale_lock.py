from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from livermore_dagster.platform.addresses import free_port_range
from livermore_dagster.platform.embedded import EmbeddedPostgres


@pytest.fixture
def server(tmp_path: Path) -> EmbeddedPostgres:
    (tmp_path / "data").mkdir()
    (tmp_path / "sockets").mkdir()
    return EmbeddedPostgres(tmp_path / "data", tmp_path / "sockets", bin=tmp_path)


def locks_of(server: EmbeddedPostgres, pid: int) -> list[Path]:
    locks = [server.data / "postmaster.pid", server.sockets / ".s.PGSQL.5432.lock"]
    for lock in locks:
        lock.write_text(f"{pid}\n{server.data}\n1767657600\n")
    return locks


def test_a_lock_whose_process_id_a_stranger_has_is_dropped(server: EmbeddedPostgres) -> None:
    locks = locks_of(server, os.getpid())
    server._drop_stale_locks()
    assert not any(lock.exists() for lock in locks)


def test_a_lock_of_a_zombie_is_dropped(server: EmbeddedPostgres) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "", str(server.data)])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    locks = locks_of(server, dead.pid)
    server._drop_stale_locks()
    dead.wait()
    assert not any(lock.exists() for lock in locks)


def test_the_lock_of_a_living_server_stays(server: EmbeddedPostgres) -> None:
    living = subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()", str(server.data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert living.stdout is not None
    living.stdout.readline()
    locks = locks_of(server, living.pid)
    server._drop_stale_locks()
    living.kill()
    living.communicate()
    assert all(lock.exists() for lock in locks)


def test_processes_look_for_ports_in_places_of_their_own() -> None:
    code = "from livermore_dagster.platform.addresses import free_port_range; print(free_port_range(6))"
    told = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(2)]
    places = [free_port_range(6), *(int(one.stdout) for one in told)]
    assert len(set(places)) > 1, "two of some 2,000 places may be the same by chance, and so not three"
