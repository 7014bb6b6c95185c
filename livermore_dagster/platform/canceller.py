"""The process that ends Dagster's runs when the platform stops: started ahead, its imports done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Canceller"]

CANCEL_S: Final = 3.0
"""What the runs are given to end."""
LIMIT_S: Final = 4.5
"""What the process is given, with Dagster's import where it was not started ahead."""


@dataclass
class Canceller:
    """`environment`: that of Dagster's processes, asked for at each start."""

    logs: Path
    environment: Callable[[], Mapping[str, str]]
    _process: subprocess.Popen[str] | None = None

    def stand_by(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "livermore_dagster.platform.runs", str(CANCEL_S)]
        with (self.logs / "stop.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self.environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                cwd="/",
                start_new_session=True,
            )
        return self._process

    def cancel_runs(self) -> bool:
        """Ask Dagster to end the runs, their exchanges' desired state stays; whether all have ended."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self.stand_by()
        try:
            process.communicate("go\n", timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.returncode == 0

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
