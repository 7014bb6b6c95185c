"""`python -m livermore_dagster.ingest`, no more patient than a test: a live service that can be killed.

`python -m tests.integration.faults.instance EXCHANGE` is that process; `Instance` starts, kills and ends it.
"""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from livermore_dagster.exchanges import caller
from livermore_dagster.ingest import __main__ as ingest
from livermore_dagster.ingest import boundary_raiser, throttle
from livermore_dagster.ingest.service import IngestService
from tests.conftest import ROOT
from tests.integration.faults.stage import BRISK
from tests.integration.ingest.played import Platform

__all__ = ["Instance"]

STOP_S = 20.0


class Instance:
    """At most one process at a time, all of which write the same log."""

    def __init__(self, platform: Platform, exchange: str, log: Path) -> None:
        self._platform = platform
        self._exchange = exchange
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.faults.instance", self._exchange],
                cwd=ROOT,
                env=self._platform.environment(),
                stderr=log,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_S)

    def end(self) -> int:
        """Its exit code, once told to end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_S)

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        if self.lives:
            self.kill()

    def texts(self) -> Iterator[str]:
        """Every `text` in its log."""
        for line in self._log.read_text(errors="replace").splitlines():
            with suppress(json.JSONDecodeError):
                found = json.loads(line)
                if isinstance(found, dict) and "text" in found:
                    yield str(found["text"])


def _main() -> int:
    boundary_raiser._FALLBACK_S = 0.5
    throttle._WINDOW_S = 1.0
    caller._TELL_EVERY_S = 1.0
    ingest.IngestService = functools.partial(IngestService, patience=BRISK.patience)
    return ingest.main()


if __name__ == "__main__":
    sys.exit(_main())
