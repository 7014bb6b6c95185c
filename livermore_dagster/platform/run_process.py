"""Which process works on a run: a worker that was killed whole cannot tell that its run died with it."""

from __future__ import annotations

import os
from typing import Final

import msgspec
import redis

from livermore_dagster.control.process import home_name, machine_id, process_is_gone, process_start
from livermore_dagster.stores.redis import keys

__all__ = ["home_of_process", "note_process", "process_died"]

_KEPT_S: Final = 7 * 86_400


class _Process(msgspec.Struct, frozen=True):
    machine_id: str
    pid: int
    started: str
    home: str = ""


def note_process(client: redis.Redis, task_id: str) -> None:
    """This process works on the run of Celery's task `task_id`."""
    found = _Process(machine_id(), os.getpid(), process_start(), home_name())
    client.set(keys.run_process(task_id), msgspec.json.encode(found), ex=_KEPT_S)


def process_died(client: redis.Redis, task_id: str) -> bool:
    """True only when it is certain: it worked on this machine and is no more."""
    text = client.get(keys.run_process(task_id))
    if text is None:
        return False
    found = msgspec.json.decode(str(text), type=_Process)
    return process_is_gone(found.machine_id, found.pid, found.started)


def home_of_process(client: redis.Redis, task_id: str) -> str | None:
    """The home whose worker has the run (`control.process.home_name`), None while no worker has it."""
    text = client.get(keys.run_process(task_id))
    return None if text is None else msgspec.json.decode(str(text), type=_Process).home
