"""One child process of `livermore up`: how it is started, known to be ready, restarted and shown."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO

from livermore_dagster.errors import PlatformError
from livermore_dagster.platform.processes import ProcessId

__all__ = ["Child", "ChildSpec", "ChildState"]

RESTARTS_MAX = 5
RESTART_WINDOW_S = 60.0
LOG_END_BYTES = 1_000_000


class ChildState(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class ChildSpec:
    """What to run. `ready` is asked until it says yes; it must answer within a second or two."""

    name: str
    command: tuple[str, ...]
    address: str
    """Where it is reached, for people; '' where nothing connects to it."""
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    os_user: str | None = None
    prepare: Callable[[], None] | None = None
    """Run before each start, e.g. to remove a stale socket."""
    begin: Callable[[Child], None] | None = None
    """Run before each start with the child, its log open: so that `ready` tells this start from others."""
    start_timeout_s: float = 90.0
    essential: bool = True
    """Whether the platform stands and falls with it; else whoever started it sees to it."""
    output: Path | None = None
    """Where standard output goes; None: into the log, as standard error does."""


class Child:
    """A process in a session of its own, restarted at most five times in a minute."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.state = ChildState.WAITING
        self.restarts = 0
        self.exit_code: int | None = None
        self.process_id: ProcessId | None = None
        self.started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._starts: deque[float] = deque(maxlen=RESTARTS_MAX + 1)
        self._log: IO[bytes] | None = None
        self.log_from = 0
        """Offset in the log at which this start's output begins."""

    @property
    def pid(self) -> int | None:
        return self.process_id.pid if self.process_id is not None and self.running else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, output appended to its log."""
        if self.spec.prepare is not None:
            self.spec.prepare()
        self._close_log()
        self._log = self.spec.log.open("ab")
        self.log_from = self._log.tell()
        if self.spec.begin is not None:
            self.spec.begin(self)
        with contextlib.ExitStack() as files:
            output = (
                self._log if self.spec.output is None else files.enter_context(self.spec.output.open("wb"))
            )
            self._process = subprocess.Popen(
                self.spec.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=self._log,
                env=dict(self.spec.environment),
                cwd="/",
                start_new_session=True,
                user=self.spec.os_user,
                group=self.spec.os_user,
            )
        self.started_at = time.monotonic()
        self._starts.append(self.started_at)
        self.process_id = ProcessId.of(self.spec.name, self._process.pid)
        self.state = ChildState.STARTING

    def look(self) -> bool:
        """Notice readiness or death; True when a restart is due. PlatformError when it cannot be kept up."""
        if self._process is None or self.state in (ChildState.STOPPED, ChildState.FAILED):
            return False
        code = self._process.poll()
        if code is not None:
            self.exit_code = code
            if self._too_often():
                self.state = ChildState.FAILED
                raise PlatformError(
                    f"{self.spec.name} died {len(self._starts)} times within {RESTART_WINDOW_S:.0f} s "
                    f"(exit code {code}). It said last: {self.last_words()}",
                    f"Its log: {self.spec.log}",
                )
            self.state = ChildState.RESTARTING
            return True
        if self.state is ChildState.STARTING:
            if self.spec.ready():
                self.state = ChildState.READY
            elif time.monotonic() - self.started_at > self.spec.start_timeout_s:
                self.state = ChildState.FAILED
                raise PlatformError(
                    f"{self.spec.name} was not ready within {self.spec.start_timeout_s:.0f} s. "
                    f"It said last: {self.last_words()}",
                    f"Its log: {self.spec.log}",
                )
        return False

    def restart(self) -> None:
        self.restarts += 1
        self.start()

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def ended(self) -> None:
        """Note that it was stopped on purpose, and reap it."""
        if self._process is not None:
            self.exit_code = self._process.poll()
        self.state = ChildState.STOPPED
        self._close_log()

    def last_words(self, size: int = 300) -> str:
        """The end of this start's log, on one line."""
        text = self.log_text()[-size:]
        return " / ".join(line.strip() for line in text.splitlines() if line.strip())[-size:] or "nothing"

    def log_text(self) -> str:
        """What it has logged since this start, or the end of that; what was rotated away is not told."""
        try:
            with self.spec.log.open("rb") as handle:
                size = handle.seek(0, 2)
                begun = self.log_from if self.log_from <= size else 0
                handle.seek(max(begun, size - LOG_END_BYTES))
                return handle.read(LOG_END_BYTES).decode(errors="replace")
        except OSError:
            return ""

    def _too_often(self) -> bool:
        full = len(self._starts) == self._starts.maxlen
        return full and time.monotonic() - self._starts[0] < RESTART_WINDOW_S

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
