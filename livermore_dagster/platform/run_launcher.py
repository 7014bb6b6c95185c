"""Dagster's Celery run launcher, mended where it misjudges our runs."""

from __future__ import annotations

from functools import cached_property

from dagster import DagsterRun, DagsterRunStatus
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus  # launchers have no public door
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from livermore_dagster.control.claim import read_claim
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.run_process import MissingHomes, why_dead
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.desired import stop_desired_sync

__all__ = ["ENDED_BY_TAG", "INGEST_JOB", "LivermoreRunLauncher"]

INGEST_JOB = "ingest"
ENDED_BY_TAG = "livermore/ended_by"
"""Set before terminating a run by whoever does not mean its work to stay undone (`down`, keeper)."""


class LivermoreRunLauncher(CeleryRunLauncher):
    """A terminated run reads CANCELED, a run of no worker is left alone, ingest's health is its claim."""

    @cached_property
    def homes(self) -> MissingHomes:
        return MissingHomes()

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        if run.job_name == INGEST_JOB and ENDED_BY_TAG not in run.tags:
            with connect(Settings.discover().redis_url) as client:
                stop_desired_sync(client, _exchange_id(run), user="dagster")
        if run.status is not DagsterRunStatus.CANCELING:  # else the interrupted run would read FAILURE
            self._instance.report_run_canceling(run)
        return super().terminate(run_id)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        if DAGSTER_CELERY_TASK_ID_TAG not in run.tags:  # runs in a shell
            return CheckRunHealthResult(WorkerStatus.RUNNING, "No Celery task: a shell runs it.")
        found = super().check_run_worker_health(run)
        with connect(Settings.discover().redis_url) as client:
            if run.job_name == INGEST_JOB:
                claim = read_claim(client, _exchange_id(run))
                if claim is not None and claim.live and claim.status.run_id == run.run_id:
                    return CheckRunHealthResult(WorkerStatus.RUNNING, "Its claim is alive.")
            elif found.status is WorkerStatus.RUNNING:
                # A worker killed with all its processes leaves its task started for ever.
                why = why_dead(client, run.tags[DAGSTER_CELERY_TASK_ID_TAG], self.homes)
                if why:
                    return CheckRunHealthResult(WorkerStatus.FAILED, why)
        return found

    def get_run_worker_debug_info(
        self, run: DagsterRun, include_container_logs: bool | None = True
    ) -> str | None:
        if DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return None
        return super().get_run_worker_debug_info(run, include_container_logs)


def _exchange_id(run: DagsterRun) -> int:
    return row_named(run.tags["dagster/partition"]).id
