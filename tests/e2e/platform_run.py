"""Starts the platform as its user does, and reads what it left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

LIVERMORE = str(Path(sys.executable).parent / "livermore")
COMMAND = (sys.executable, "-m", "livermore_dagster.cli.app")
STARTED_S = 180.0
ENDED_S = 60.0
"""What takes seconds, on a machine that stands still for a while."""
_DOORS = httpx.Client(timeout=60)
"""One for all: each client reads all certificates first, which takes longer than most questions."""
STEP_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def to_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def environment(**more: str) -> dict[str, str]:
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LIVERMORE_", "DAGSTER_"))
        },
        **more,
    }


def livermore(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def wait_for(event: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not event():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def processes_of(home: Path) -> list[psutil.Process]:
    """Every live process that belongs to a home, by what it was given."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(home) in word for word in words):
                found.append(process)
        except psutil.Error:
            continue
    return found


class Running:
    """A platform in the background."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self.port = free_port()
        self.log = home.with_name(home.name + ".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--home", str(home), "--port", str(self.port), *arguments],
                env=environment(), stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    def wait_until_up(self) -> None:
        def up() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "All up" in self.log.read_text()

        wait_for(up, STARTED_S, self.log.read_text())

    def status(self) -> dict[str, Any]:
        done = livermore("status", "--json", "--home", str(self.home))
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(ENDED_S)


@dataclass(frozen=True)
class Place:
    """Where one platform lives: its home and the servers that outlive it."""

    home: Path
    redis_url: str
    database_url: str

    def env(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("LIVERMORE_")},
            "LIVERMORE_REDIS_URL": self.redis_url,
            "LIVERMORE_DATABASE_URL": self.database_url,
        }

    def command(self, *arguments: str) -> list[str]:
        return [LIVERMORE, *arguments, "--home", str(self.home)]

    def up(self, *arguments: str, timeout: float) -> dict[str, Any]:
        """Runs `livermore up … --json` to its own end and returns its report."""
        command = self.command("up", "--json", "--port", str(free_port()), *arguments)
        done = subprocess.run(command, env=self.env(), capture_output=True, timeout=timeout)
        assert done.returncode == 0, (
            f"{command}\n{done.stdout.decode()[-2000:]}\n{done.stderr.decode()[-6000:]}"
        )
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """The platform up in the background; ended by SIGINT as a user's Ctrl-C would."""
        log = (self.home.parent / f"{self.home.name}.up.log").open("wb")
        process = subprocess.Popen(
            self.command("up", "--port", str(free_port()), *arguments),
            env=self.env(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(ENDED_S)
            log.close()

    def candles(self, exchange_id: int, symbol: str, timeframe: str) -> dict[int, tuple[str, ...]]:
        with psycopg.connect(self.database_url) as connection:
            rows = connection.execute(
                "SELECT open_ms, open, high, low, close, volume FROM candles"
                " WHERE exchange_id = %s AND symbol = %s AND timeframe = %s ORDER BY open_ms",
                (exchange_id, symbol, timeframe),
            ).fetchall()
        return {row[0]: tuple(format(value.normalize(), "f") for value in row[1:]) for row in rows}

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(sql, parameters).fetchall()


class Truth:
    """The simulator's final candles, asked of it over its control door after the fact."""

    def __init__(self, doors: Mapping[str, str]) -> None:
        self._doors = doors

    def candles(
        self, exchange: str, symbol: str, timeframe: str, start: int, end: int
    ) -> dict[int, tuple[str, ...]]:
        reply = _DOORS.get(
            f"{self._doors[exchange]}/truth",
            params={"symbol": symbol, "timeframe": timeframe, "start": start, "end": end},
        )
        reply.raise_for_status()
        names = ("open", "high", "low", "close", "volume")
        return {row["open_ms"]: tuple(row[name] for name in names) for row in reply.json()["candles"]}

    def candle_requests(self, exchange: str, after: int = 0) -> list[dict[str, Any]]:
        """What the exchange was asked for by REST, oldest first, since its request of that number."""
        reply = _DOORS.get(f"{self._doors[exchange]}/requests", params={"after": after})
        reply.raise_for_status()
        return list(reply.json()["requests"])

    def symbols(self, exchange: str) -> dict[str, str]:
        reply = _DOORS.get(f"{self._doors[exchange]}/symbols")
        reply.raise_for_status()
        return {row["symbol"]: row["kind"] for row in reply.json()}


@contextmanager
def truth_of(exchanges: Sequence[str], seed: int, anchor: Path) -> Iterator[Truth]:
    """A simulator of the market anchored in `anchor`: it ran on meanwhile, so what closed then is final."""
    command = [LIVERMORE, "simulate", "--json", "--seed", str(seed), "--base-port", "0"]
    command += ["--anchor", str(anchor)]
    for exchange in exchanges:
        command += ["--exchange", exchange]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        text = ""
        while True:
            text += process.stdout.readline().decode()
            try:
                doors = json.loads(text)
                break
            except json.JSONDecodeError:
                assert process.poll() is None, text
        yield Truth({name: door["control_url"] for name, door in doors["exchanges"].items()})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(ENDED_S)
