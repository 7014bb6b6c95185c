"""Processes of a platform: named beyond mistake, found and ended with all that they started."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from livermore_dagster.control.process import process_start

__all__ = [
    "TOKEN",
    "ProcessId",
    "RunRecord",
    "end_processes",
    "family_memory",
    "read_record",
    "write_record",
]

TOKEN = "LIVERMORE_UP_TOKEN"  # noqa: S105 - names a variable that marks what one `up` started, no secret
POLL_S = 0.05


@dataclass(frozen=True)
class ProcessId:
    """A process and when it started: together they are never reused."""

    name: str
    pid: int
    started: str

    @classmethod
    def of(cls, name: str, pid: int) -> ProcessId:
        return cls(name, pid, process_start(pid))

    @property
    def alive(self) -> bool:
        return bool(self.started) and process_start(self.pid) == self.started


@dataclass(frozen=True)
class RunRecord:
    """What one `up` started, written before anything can go wrong with it."""

    token: str
    up: ProcessId
    children: tuple[ProcessId, ...]


def write_record(path: Path, record: RunRecord) -> None:
    """Replace the record in one step: a reader sees the old or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(record)))
    fresh.replace(path)


def read_record(path: Path) -> RunRecord | None:
    """The record of the last `up` in this home, None when there is none."""
    try:
        found = json.loads(path.read_text())
        return RunRecord(
            token=found["token"],
            up=ProcessId(**found["up"]),
            children=tuple(ProcessId(**child) for child in found["children"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def end_processes(record: RunRecord, patience_s: float = 3.0) -> list[str]:
    """End everything that `up` started, and what that started: SIGTERM, SIGKILL after `patience_s` seconds.

    Returns the names of those that had to be ended. PostgreSQL gets its fast shutdown (SIGINT), so that a
    waiting client does not hold it up.
    """
    found = _members(record)
    for process in found:
        _send(process, signal.SIGINT if process.name == "postgresql" else signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    left = found
    while left and time.monotonic() < deadline:
        time.sleep(POLL_S)
        left = [process for process in left if process.alive]
    # What they started meanwhile counts too, hence a second look.
    again = _members(record)
    for process in again:
        _send(process, signal.SIGKILL)
    deadline = time.monotonic() + patience_s
    while any(process.alive for process in _members(record)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return sorted({process.name for process in (*found, *again)})


def _members(record: RunRecord) -> list[ProcessId]:
    """Every live process of a recorded child's session, or that carries the record's token.

    Servers that write their title over their environment are found by session; what opened a session of
    its own is found by token.
    """
    sessions = {child.pid: child.name for child in record.children}
    known = {child.pid: child for child in record.children}
    mark = f"{TOKEN}={record.token}".encode()
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        if pid in (os.getpid(), record.up.pid):
            continue
        if pid in known:
            if known[pid].alive:
                members.append(known[pid])
            continue
        session = _session(pid)
        # A session outlives its leader, and its id is not given away while a member lives.
        stale = session in known and process_start(session) not in ("", known[session].started)
        if session in sessions and not stale:
            members.append(ProcessId.of(sessions[session], pid))
        elif record.token and mark in _environment(pid):
            members.append(ProcessId.of("straggler", pid))
    return [process for process in members if process.alive]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _send(process: ProcessId, number: signal.Signals) -> None:
    if process.alive:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return


def family_memory(pid: int) -> int:
    """Bytes of memory of a process and all it started: proportional where the system tells, else resident."""
    try:
        head = psutil.Process(pid)
        family: Iterable[psutil.Process] = [head, *head.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in family:
        try:
            total += _proportional(process.pid) or process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
