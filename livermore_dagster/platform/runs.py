"""Ending what runs, before its workers go: `python -m livermore_dagster.platform.runs` in the platform's
environment.

A process of its own, so that `livermore up` need not import Dagster to stop.
"""

from __future__ import annotations

import sys
import time

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from livermore_dagster.platform.run_launcher import ENDED_BY_TAG, INGEST_JOB

__all__ = ["UNFINISHED", "cancel_runs"]

UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def cancel_runs(instance: DagsterInstance, timeout: float = 3.0, ended_by: str = "down") -> int:
    """Terminate every unfinished run and wait up to `timeout` seconds; how many are still unfinished.

    The exchanges' desired state stays as it is: what ran now runs again at the next start. Stop the daemon
    first,
    else its keeper starts them anew.
    """
    for run in instance.get_runs(RunsFilter(statuses=UNFINISHED)):
        if run.job_name == INGEST_JOB:
            instance.add_run_tags(run.run_id, {ENDED_BY_TAG: ended_by})
        instance.run_launcher.terminate(run.run_id)
    deadline = time.monotonic() + timeout
    while left := instance.get_runs_count(RunsFilter(statuses=UNFINISHED)):
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    return left


if __name__ == "__main__":
    with DagsterInstance.get() as current:
        sys.exit(1 if cancel_runs(current, float(sys.argv[1]) if len(sys.argv) > 1 else 3.0) else 0)
