"""Which process works on a run: a worker that was killed whole cannot tell that its run died with it.

On this machine the process itself is looked at; on another only its home can be: while that is up it would
end, or start anew, what its workers leave behind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

import msgspec
import redis

from livermore_dagster.control.process import home_name, machine_id, process_is_gone, process_start
from livermore_dagster.platform.homes import homes_up
from livermore_dagster.stores.redis import keys

__all__ = ["MissingHomes", "home_of_process", "note_process", "why_dead"]

_KEPT_S: Final = 7 * 86_400
MISSING_S: Final = 20.0
"""Beyond the life of a home's word: after a Redis that was away every home is missing for a moment."""


class _Process(msgspec.Struct, frozen=True):
    machine_id: str
    pid: int
    started: str
    home: str = ""


def note_process(client: redis.Redis, task_id: str) -> None:
    """This process works on the run of Celery's task `task_id`."""
    found = _Process(machine_id(), os.getpid(), process_start(), home_name())
    client.set(keys.run_process(task_id), msgspec.json.encode(found), ex=_KEPT_S)


class MissingHomes:
    """Which homes have been down for as long as this process has watched them be."""

    def __init__(
        self, patience_s: float = MISSING_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience_s = patience_s
        self._monotonic = monotonic
        self._since: dict[str, float] = {}

    def missing(self, client: redis.Redis, home: str) -> bool:
        """`home`: as `control.process.home_name` says it in the home's processes."""
        up, now = {one.home for one in homes_up(client)}, self._monotonic()
        self._since = {name: since for name, since in self._since.items() if name not in up}
        return home not in up and now - self._since.setdefault(home, now) >= self._patience_s


def why_dead(client: redis.Redis, task_id: str, homes: MissingHomes) -> str:
    """In words why nobody works on the run any more; '' unless that is certain."""
    text = client.get(keys.run_process(task_id))
    if text is None:
        return ""
    found = msgspec.json.decode(str(text), type=_Process)
    if found.machine_id == machine_id():
        gone = process_is_gone(found.machine_id, found.pid, found.started)
        return "The process that worked on it is gone." if gone else ""
    if not found.home or not homes.missing(client, found.home):
        return ""
    host, _, path = found.home.partition(":")
    return f"The home whose worker had it, {path} on {host}, is up no more."


def home_of_process(client: redis.Redis, task_id: str) -> str | None:
    """The home whose worker has the run (`control.process.home_name`), None while no worker has it."""
    text = client.get(keys.run_process(task_id))
    return None if text is None else msgspec.json.decode(str(text), type=_Process).home
