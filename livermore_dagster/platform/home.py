"""The platform's folder: usable, held by one `up`, stamped with its provenance, with room for sockets."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import IO

from livermore_dagster.errors import AlreadyRunning, HomeNotUsable, PortInUse, ProvenanceMismatch

__all__ = ["Home", "check_port"]

SOCKET_PATH_MAX = 107
"""Bytes of a Unix socket's path, without its closing zero (Linux, sun_path)."""
LONGEST_SOCKET = "pg/.s.PGSQL.5432.lock"
FREE_BYTES_NEEDED = 200_000_000


class Home:
    """One platform's folder. Nothing of it is touched until `prepare`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def record(self) -> Path:
        return self.run / "processes.json"

    @property
    def platform_json(self) -> Path:
        return self.run / "platform.json"

    @property
    def sockets(self) -> Path:
        """Where sockets live: in the home, or in a short folder of this user's if the home's path is long."""
        inside = self.run / "s"
        if len(os.fsencode(inside / LONGEST_SOCKET)) <= SOCKET_PATH_MAX:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:10]
        return Path(tempfile.gettempdir()) / f"livermore-{os.getuid()}-{digest}"

    def prepare(self) -> None:
        """Make the folders; HomeNotUsable says what stands in the way."""
        try:
            for folder in (self.path, self.run, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            self.path.chmod(self.path.stat().st_mode & ~stat.S_IRWXO & ~stat.S_IWGRP)
            probe = self.run / f".probe-{os.getpid()}"
            probe.write_text("writable")
            probe.unlink()
        except OSError as error:
            raise HomeNotUsable(
                f"The home {self.path} cannot be written: {error.strerror}.",
                "Choose another with --home or LIVERMORE_HOME.",
            ) from error
        free = shutil.disk_usage(self.path).free
        if free < FREE_BYTES_NEEDED:
            raise HomeNotUsable(
                f"Only {free // 1_000_000} MB are free where {self.path} is.",
                f"Free at least {FREE_BYTES_NEEDED // 1_000_000} MB, or choose another home.",
            )
        self._prepare_sockets()

    def _prepare_sockets(self) -> None:
        folder = self.sockets
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
            raise HomeNotUsable(
                f"{folder} is needed for sockets, but belongs to another user.",
                "Remove it, or choose a home with a shorter path.",
            )

    def lock(self) -> None:
        """Hold the home for this process; AlreadyRunning names the `up` that has it."""
        handle = (self.run / "up.lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise AlreadyRunning(
                f"Livermore already runs in {self.path} (pid {holder}).",
                "See `livermore status`; stop it with `livermore down`, or choose another --home.",
            ) from None
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        self._lock = handle

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def holder(self) -> int | None:
        """Pid of the `up` that holds this home, None when nobody does."""
        path = self.run / "up.lock"
        try:
            with path.open("r") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = handle.read().strip()
                    return int(text) if text.isdigit() else 0
        except OSError:
            return None
        return None

    def stamp(self, provenance: str) -> None:
        """Stamp an unstamped home, refuse one stamped otherwise (R13)."""
        path = self.path / "provenance"
        try:
            found = path.read_text().strip()
        except FileNotFoundError:
            path.write_text(f"{provenance}\n")
            return
        if found != provenance:
            raise ProvenanceMismatch(f"The home {self.path}", found, provenance)


def check_port(port: int, option: str, host: str = "127.0.0.1") -> None:
    """PortInUse unless `host:port` can be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise PortInUse(
                f"Port {port} on {host} cannot be used: {error.strerror}.", f"Choose another with {option}."
            ) from error
