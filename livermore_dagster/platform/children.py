"""What `livermore up` runs beside the servers: the simulator, Dagster's processes and the Celery workers."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import psycopg

from livermore_dagster.logs import LEVEL
from livermore_dagster.platform.addresses import read_doors
from livermore_dagster.platform.child import Child, ChildSpec
from livermore_dagster.platform.home import Home
from livermore_dagster.platform.logging import ROLE
from livermore_dagster.platform.options import UpOptions

__all__ = [
    "WORKERS",
    "child_environment",
    "code_server",
    "daemon",
    "notifier",
    "simulator",
    "standby",
    "web_server",
    "worker",
    "write_workspace",
]

DEFINITIONS = "livermore_dagster.definitions"
WORKERS: tuple[tuple[str, int], ...] = (("boundary", 2), ("batch", 2), ("ingest", 6))
"""Queue and concurrency. Every exchange occupies one ingest slot for as long as it runs; there are six.
Audits, which may take minutes of every hour, run one at a time: the other batch slot is people's."""
JSON_LOGS = ("--log-format", "json")
"""Of Dagster's own processes: an object a line, without the colours of a terminal."""
SUPERVISED = "LIVERMORE_UP"
"""Set for all children of `up`: sensors are running by default there, and stopped anywhere else."""
_OURS = ("LIVERMORE_", "DAGSTER_")
_KEPT = ("LIVERMORE_NOTIFY", LEVEL)


def child_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Our environment without settings of another platform, with those of this one."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OURS) or name.startswith(_KEPT)
    }
    return {
        **inherited,
        "PYTHONUNBUFFERED": "1",
        "DAGSTER_DISABLE_TELEMETRY": "1",
        # One thread of linear algebra each: eight processes share few cores.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        SUPERVISED: "1",
        **values,
    }


def simulator(home: Home, options: UpOptions, base_port: int, environment: Mapping[str, str]) -> ChildSpec:
    from livermore_dagster.simulator.universe import EXCHANGES

    output = home.run / "simulator.json"
    command = [sys.executable, "-m", "livermore_dagster.cli.app", "simulate", "--json"]
    command += ["--base-port", str(base_port), "--speed", f"{options.speed:g}", "--seed", str(options.seed)]
    command += ["--anchor", str(home.path / "market.json")]
    if options.storm is not None:
        command += ["--storm", str(options.storm)]
    return ChildSpec(
        "simulator",
        tuple(command),
        f"127.0.0.1:{base_port} to {base_port + len(EXCHANGES) - 1}",
        home.logs / "simulator.log",
        ready=lambda: bool(read_doors(output)),
        environment=environment,
        prepare=lambda: output.unlink(missing_ok=True),
        output=output,
    )


def code_server(home: Home, environment: Mapping[str, str]) -> ChildSpec:
    path = home.sockets / "code"
    command = [sys.executable, "-m", "dagster", "api", "grpc", "--module-name", DEFINITIONS]
    command += ["--socket", str(path), "--max-workers", "16", "--location-name", "livermore"]
    command += ["--use-python-environment-entry-point", *JSON_LOGS]
    return ChildSpec(
        "code server",
        tuple(command),
        f"unix:{path}",
        home.logs / "code-server.log",
        ready=lambda: _accepts(path),
        environment={**environment, ROLE: "code-server"},
        prepare=lambda: path.unlink(missing_ok=True),
    )


def web_server(home: Home, workspace: Path, port: int, environment: Mapping[str, str]) -> ChildSpec:
    # Dagster's web server has no login: loopback, always (U2).
    command = [sys.executable, "-m", "dagster_webserver", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workspace", str(workspace), "--suppress-warnings", *JSON_LOGS]
    return ChildSpec(
        "web server",
        tuple(command),
        f"http://127.0.0.1:{port}",
        home.logs / "web-server.log",
        ready=lambda: _answers(f"http://127.0.0.1:{port}/server_info"),
        environment=environment,
    )


def daemon(home: Home, workspace: Path, dagster_conninfo: str, environment: Mapping[str, str]) -> ChildSpec:
    command = [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(workspace), *JSON_LOGS]
    heartbeat = _Heartbeat(dagster_conninfo)
    return ChildSpec(
        "daemon",
        tuple(command),
        "sensors, run monitor",
        home.logs / "daemon.log",
        ready=heartbeat.is_new,
        environment=environment,
        begin=heartbeat.begin,
    )


def notifier(home: Home, environment: Mapping[str, str]) -> ChildSpec:
    """Never waited for, and it says itself when it cannot work: notifications hold nothing else back."""
    return ChildSpec(
        "notifier",
        (sys.executable, "-m", "livermore_dagster.notify"),
        "alerts to Discord and others",
        home.logs / "notifier.log",
        ready=lambda: True,
        environment=environment,
    )


def standby(home: Home, exchange: str, environment: Mapping[str, str]) -> ChildSpec:
    """Waits for an exchange that another home's instance holds; once it has it, it is the instance."""
    return ChildSpec(
        f"standby {exchange}",
        (sys.executable, "-m", "livermore_dagster.ingest", exchange, "--standby"),
        f"waits for {exchange}",
        home.logs / f"standby-{exchange}.log",
        ready=lambda: True,
        environment=environment,
        essential=False,
    )


def worker(home: Home, queue: str, concurrency: int, environment: Mapping[str, str]) -> ChildSpec:
    command = [sys.executable, "-m", "celery", "--app", "livermore_dagster.platform.celery_app", "worker"]
    # Two homes on one host are two workers, also where Celery tells them apart by name.
    place = hashlib.sha256(os.fsencode(home.path)).hexdigest()[:6]
    command += ["--queues", queue, "--hostname", f"{queue}-{place}@{socket.gethostname()}"]
    command += ["--concurrency", str(concurrency), "--pool", "prefork", "--loglevel", "INFO"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    log = home.logs / f"worker-{queue}.log"
    said = _LogSays(log, " ready.")
    return ChildSpec(
        f"worker {queue}",
        tuple(command),
        f"queue {queue}, {concurrency} slot{'s' if concurrency > 1 else ''}",
        log,
        ready=said.now,
        environment=environment,
        begin=said.begin,
    )


def write_workspace(home: Home) -> Path:
    """workspace.yaml for web server and daemon: the one code server, on its Unix socket."""
    path = home.path / "dagster" / "workspace.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "# Written by `livermore up` at each start.\n"
        f"load_from:\n  - grpc_server:\n      socket: {home.sockets / 'code'}\n"
        "      location_name: livermore\n"
    )
    return path


class _LogSays:
    """Whether a log, from a start on, says some words."""

    def __init__(self, log: Path, words: str) -> None:
        self._log = log
        self._words = words.encode()
        self._from = 0

    def begin(self, child: Child) -> None:
        self._from = child.log_from

    def now(self) -> bool:
        with self._log.open("rb") as handle:
            # A log that was rotated meanwhile is shorter, and all of it is of this start.
            handle.seek(self._from if self._from <= handle.seek(0, 2) else 0)
            return self._words in handle.read(1_000_000)


class _Heartbeat:
    """Whether a daemon of this start has put its heartbeat into Dagster's storage."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._newest: object = None

    def begin(self, child: Child) -> None:
        self._newest = self._read()

    def is_new(self) -> bool:
        newest = self._read()
        return newest is not None and newest != self._newest

    def _read(self) -> object:
        try:
            with psycopg.connect(self._conninfo, connect_timeout=2) as connection:
                row = connection.execute(
                    "SELECT max(timestamp) FROM daemon_heartbeats WHERE daemon_type = 'SENSOR'"
                ).fetchone()
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
            return None  # PostgreSQL restarts, or Dagster has not made its tables yet
        return row[0] if row else None


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:  # noqa: S310 - our own loopback address
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
