"""Ending what runs, before its workers go: `python -m livermore_dagster.platform.runs SECONDS`, in the
platform's environment, which waits for a line on standard input.

A process of its own, started ahead: `livermore up` need not import Dagster, nor wait for that when it
stops.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import redis
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from sqlalchemy.exc import SQLAlchemyError

from livermore_dagster.control.process import home_name
from livermore_dagster.errors import LivermoreError
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.homes import homes_up
from livermore_dagster.platform.run_launcher import ENDED_BY_TAG
from livermore_dagster.platform.run_process import home_of_process
from livermore_dagster.stores.redis.client import connect

__all__ = ["UNFINISHED", "cancel_runs"]

UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]

AT_ONCE: Final = 8


def cancel_runs(instance: DagsterInstance, timeout: float = 3.0, ended_by: str = "down") -> int:
    """Terminate this home's unfinished runs and wait up to `timeout` seconds; how many had not ended by then.

    Those are reported canceled all the same: their workers are ended next, and nobody could tell it later.
    The exchanges' desired state stays as it is: what ran now runs again at the next start. Stop the daemon
    first, else its keeper starts them anew. What the workers of another home run, and what they may yet take
    from the queues, is left alone.
    """
    deadline = time.monotonic() + timeout
    own = _own_runs(instance)
    if not own:
        return 0

    def end(run: DagsterRun) -> None:
        instance.add_run_tags(run.run_id, {ENDED_BY_TAG: ended_by})
        instance.run_launcher.terminate(run.run_id)

    # Each writes several events into Dagster's storage: one after the other the last would hear of it late.
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(end, own))
    unfinished = RunsFilter(run_ids=[run.run_id for run in own], statuses=UNFINISHED)
    while left := instance.get_runs_count(unfinished):
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    for run in instance.get_runs(unfinished) if left else ():
        of_a_shell = run.status is DagsterRunStatus.STARTED and DAGSTER_CELERY_TASK_ID_TAG not in run.tags
        if not of_a_shell:
            instance.report_run_canceled(run, "Its worker is ended with the platform.")
    return left


def _own_runs(instance: DagsterInstance) -> list[DagsterRun]:
    """The unfinished runs that no other home's worker has or may take."""
    runs = list(instance.get_runs(RunsFilter(statuses=UNFINISHED)))
    own = home_name()
    try:
        with connect(Settings.discover().redis_url) as client:
            if all(other.home == own for other in homes_up(client)):
                return runs
            places = [home_of_process(client, run.tags.get(DAGSTER_CELERY_TASK_ID_TAG, "")) for run in runs]
    except (redis.RedisError, LivermoreError):
        return runs
    return [run for run, place in zip(runs, places, strict=True) if place == own]


def _stand_by(timeout: float) -> int:
    """Load everything, wait for a line on standard input, then cancel; without the line do nothing."""
    try:
        with DagsterInstance.get() as instance:
            instance.get_runs_count()  # imports what a storage needs
    except SQLAlchemyError as error:
        print(f"storage is away: {error}", file=sys.stderr)  # noqa: T201 - goes to the log of `up`
    if not sys.stdin.readline():
        return 0
    with DagsterInstance.get() as instance:
        return cancel_runs(instance, timeout)


if __name__ == "__main__":
    # Ctrl-C reaches nobody here: a session of its own. SIGTERM while standing by is a plain end.
    code = 1 if _stand_by(float(sys.argv[1])) else 0
    sys.stderr.flush()
    os._exit(code)  # all is done: the farewell of Dagster's and Celery's threads may take seconds
