"""`up`'s side of its guardian: started, kept alive, dismissed when everything has been stopped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from livermore_dagster.platform import guardian

__all__ = ["Guard"]


class Guard:
    """Holds the pipe by whose end the guardian knows that `up` was killed."""

    def __init__(self, record: Path, tell: Callable[[str], None]) -> None:
        """`record`: of the processes to end then."""
        self._record = record
        self._tell = tell
        self._process: subprocess.Popen[str] | None = None

    def keep(self) -> None:
        """Start it, or start it anew when it has died."""
        if self._process is not None:
            if self._process.poll() is None:
                return
            self._tell("The guardian died; restarted.")
        self._process = subprocess.Popen(
            [sys.executable, "-m", guardian.__name__, str(self._record)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd="/",
            start_new_session=True,
        )

    def dismiss(self) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(guardian.FAREWELL)
            self._process.stdin.close()
            self._process.wait(2)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
        self._process = None
