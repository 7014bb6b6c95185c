"""What our launcher mends of dagster-celery's, on a real Valkey."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import dagster as dg
import pytest
import redis
from dagster._core.launcher import WorkerStatus

from assets.ingest_job import ingest_job
from livermore_dagster.control.claim import Claim
from livermore_dagster.platform.homes import HomeBeat
from livermore_dagster.platform.run_launcher import ENDED_BY_TAG
from livermore_dagster.platform.run_process import MissingHomes
from livermore_dagster.platform.runs import cancel_runs
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.desired import (
    Desired,
    SymbolChoice,
    read_desired_sync,
    write_desired_sync,
)


@dg.op
def nothing() -> None:
    """Stands for what a boundary run does."""


@dg.job
def boundary() -> None:
    nothing()


WANTED = Desired("running", SymbolChoice(top=8), "tester")


@pytest.fixture
def client(platform_environment: str):
    with redis.Redis.from_url(platform_environment, decode_responses=True) as made:
        write_desired_sync(made, 2, WANTED)
        yield made


def started(instance: dg.DagsterInstance, *, task: bool = True, **tags: str) -> dg.DagsterRun:
    own = {"dagster/partition": "binance", **tags}
    if task:
        own["dagster-celery/task_id"] = "7f0a"
    return instance.create_run_for_job(ingest_job, tags=own, status=dg.DagsterRunStatus.STARTED)


def status_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_terminated_run_is_canceling_before_its_worker_is_told(launcher_instance, client) -> None:
    run = started(launcher_instance)
    assert launcher_instance.run_launcher.terminate(run.run_id)
    assert status_of(launcher_instance, run) is dg.DagsterRunStatus.CANCELING


def test_terminating_ingest_by_hand_keeps_the_exchange_stopped_and_its_symbols(
    launcher_instance, client
) -> None:
    run = started(launcher_instance)
    launcher_instance.run_launcher.terminate(run.run_id)
    assert read_desired_sync(client, 2) == Desired("stopped", SymbolChoice(top=8), "dagster")


def test_ending_with_the_platform_leaves_the_wish_alone(launcher_instance, client) -> None:
    run = started(launcher_instance)
    assert cancel_runs(launcher_instance, timeout=0) == 1
    assert status_of(launcher_instance, run) is dg.DagsterRunStatus.CANCELED, "nobody is left to end it"
    assert read_desired_sync(client, 2) == WANTED
    found = launcher_instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.tags[ENDED_BY_TAG] == "down"


def test_a_run_in_a_shell_is_left_alone(launcher_instance, client) -> None:
    run = started(launcher_instance, task=False)
    assert not launcher_instance.run_launcher.terminate(run.run_id)
    assert status_of(launcher_instance, run) is dg.DagsterRunStatus.STARTED
    assert read_desired_sync(client, 2) == WANTED
    health = launcher_instance.run_launcher.check_run_worker_health(run)
    assert health.status is WorkerStatus.RUNNING
    assert launcher_instance.run_launcher.get_run_worker_debug_info(run) is None


def test_ingest_is_healthy_as_long_as_its_claim_lives(launcher_instance, client) -> None:
    run = started(launcher_instance)
    launcher = launcher_instance.run_launcher
    # Celery has forgotten the task, or never knew it.
    assert launcher.check_run_worker_health(run).status is WorkerStatus.UNKNOWN
    claim = Claim(client, 2, "binance", run_id=run.run_id)
    claim.acquire()
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    other = started(launcher_instance)
    assert launcher.check_run_worker_health(other).status is WorkerStatus.UNKNOWN
    claim.release()
    assert launcher.check_run_worker_health(run).status is WorkerStatus.UNKNOWN


def test_a_run_is_dead_with_the_process_that_worked_on_it(
    launcher_instance, platform_environment: str
) -> None:
    """A worker killed whole leaves Celery's word that the task has started."""
    launcher = launcher_instance.run_launcher
    run = launcher_instance.create_run_for_job(
        boundary, tags={"dagster-celery/task_id": "7f0b"}, status=dg.DagsterRunStatus.STARTED
    )
    launcher.celery.backend.store_result("7f0b", None, "STARTED")
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    noting = "import sys, redis; from livermore_dagster.platform.run_process import note_process;"
    noting += "note_process(redis.Redis.from_url(sys.argv[1]), '7f0b'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", noting, platform_environment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        worker.kill()
        worker.wait()
    assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED


def test_a_run_is_dead_when_the_home_of_its_worker_has_been_down(
    launcher_instance, platform_environment: str
) -> None:
    """Whether a process of another machine lives cannot be seen from here."""
    launcher = launcher_instance.run_launcher
    launcher.homes = MissingHomes(patience_s=0.2)
    run = launcher_instance.create_run_for_job(
        boundary, tags={"dagster-celery/task_id": "7f0c"}, status=dg.DagsterRunStatus.STARTED
    )
    launcher.celery.backend.store_result("7f0c", None, "STARTED")
    other = HomeBeat(platform_environment, "other", "there:/srv/other")
    other.start()
    with redis.Redis.from_url(platform_environment, decode_responses=True) as made:
        process = {"machine_id": "another", "pid": 1, "started": "1", "home": "there:/srv/other"}
        made.set(keys.run_process("7f0c"), json.dumps(process))
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    other.stop()
    seen = time.monotonic()
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING, "it may be back in a moment"
    while (found := launcher.check_run_worker_health(run)).status is WorkerStatus.RUNNING:
        assert time.monotonic() - seen < 60
    assert time.monotonic() - seen >= 0.2
    assert found.status is WorkerStatus.FAILED
    assert found.msg == "The home whose worker had it, /srv/other on there, is up no more."
