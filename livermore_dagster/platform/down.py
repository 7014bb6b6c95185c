"""`livermore down`: end the `up` of a home from another terminal, or what a killed one left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from livermore_dagster.errors import NotRunning
from livermore_dagster.platform.home import Home
from livermore_dagster.platform.processes import ProcessId, end_processes, read_record

__all__ = ["bring_down"]

PATIENCE_S = 12.0
POLL_S = 0.1


def bring_down(home: Home, tell: Callable[[str], None]) -> None:
    """End the platform of `home`; NotRunning when there is none."""
    record = read_record(home.record)
    holder = home.holder()
    if holder is None and record is None:
        raise NotRunning(f"No platform runs in {home.path}.", "Start one with `livermore up`.")
    if holder:
        _end_up(home, ProcessId.of("up", holder), tell)
    # Its guardian works on the same record; both end the same processes and no others.
    record = read_record(home.record)
    if record is not None:
        ended = end_processes(record)
        if ended:
            tell(f"Ended what was left: {', '.join(ended)}.")
        home.record.unlink(missing_ok=True)
        home.platform_json.unlink(missing_ok=True)
    tell(f"Nothing of {home.path} runs any more.")


def _end_up(home: Home, up: ProcessId, tell: Callable[[str], None]) -> None:
    tell(f"Stopping pid {up.pid}.")
    if up.alive:
        os.kill(up.pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while home.holder() is not None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if home.holder() is not None and up.alive:
        tell("It does not stop: killed.")
        os.kill(up.pid, signal.SIGKILL)
