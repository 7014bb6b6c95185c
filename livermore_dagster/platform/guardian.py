"""Watches over `livermore up`: when that is killed, however, its children are ended within seconds.

Started as `python -m livermore_dagster.platform.guardian RECORD`. Standard input is the reading end of a pipe
whose writing end only `up` holds: a line on it says that `up` has stopped everything itself; an end without
one says that it was killed.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from livermore_dagster.platform.processes import end_processes, read_record

__all__ = ["FAREWELL", "watch"]

FAREWELL = "done\n"


def watch(record_path: Path) -> int:
    """Wait for the end of `up`; returns how many names had to be ended."""
    # Ctrl-C reaches the whole foreground group, and `down` is not meant for us: only the pipe counts.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.readline() == FAREWELL:
        return 0
    record = read_record(record_path)
    if record is None:
        return 0
    ended = end_processes(record)
    record_path.unlink(missing_ok=True)
    record_path.with_name("platform.json").unlink(missing_ok=True)
    return len(ended)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
