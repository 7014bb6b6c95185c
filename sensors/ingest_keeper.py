"""Keeps each exchange's ingest run as its desired state wants it; what to do is decided by control.keeper."""

from __future__ import annotations

import json
from collections.abc import Mapping

import dagster as dg

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.keeper import (
    Action,
    Backoff,
    CancelRun,
    RunFacts,
    RunPhase,
    StartRun,
    StopRun,
    decide,
)
from livermore_dagster.control.registry import note_offline, read_instance
from livermore_dagster.control.standbys import read_standbys
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.dagster_yaml import INGEST_QUEUE
from livermore_dagster.platform.run_launcher import ENDED_BY_TAG, INGEST_JOB
from livermore_dagster.platform.runs import UNFINISHED
from livermore_dagster.resources import PlatformResource, sensor_status
from livermore_dagster.stores.redis.desired import read_desired_sync

__all__ = ["keeper_sensor", "unfinished_runs"]

_PARTITION_TAG = "dagster/partition"


@dg.sensor(
    name="ingest_keeper",
    description=(
        "Starts, stops and replaces ingest runs: the desired state decides, the claim's heartbeat tells life "
        "from death, whatever a run's status says."
    ),
    job_name=INGEST_JOB,
    minimum_interval_seconds=2,
    default_status=sensor_status(),
)
def keeper_sensor(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
    """Cursor: JSON of the back-off per exchange."""
    client = platform.redis()
    known = json.loads(context.cursor or "{}")
    runs = unfinished_runs(context.instance)
    kept: dict[str, dict[str, int]] = {}
    requests: list[dg.RunRequest] = []
    words: list[str] = []
    for row in ROWS:
        desired = read_desired_sync(client, row.id)
        own = runs.get(row.name, [])
        if desired is None and not own:
            continue
        now_ms = SystemClock().now_ms()
        view = read_instance(client, row.id, row.name)
        note_offline(client, view, now_ms)
        waiting = [one for one in read_standbys(client, row.id) if not one.gone]
        decision = decide(
            row.name,
            desired is not None and desired.present,
            view.claim,
            own,
            Backoff.from_dict(known.get(row.name, {})),
            now_ms,
            waiting[0] if waiting else None,
        )
        kept[row.name] = decision.backoff.to_dict()
        for action in decision.actions:
            words.append(action.words)
            if isinstance(action, StartRun):
                requests.append(_start(row, action, now_ms))
            else:
                _end(context.instance, action)
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(kept))
    return dg.SensorResult(
        skip_reason=" ".join(words) or "No exchange has been started or stopped yet.", cursor=json.dumps(kept)
    )


def unfinished_runs(instance: dg.DagsterInstance) -> Mapping[str, list[RunFacts]]:
    """Facts of the ingest runs that are not over, by exchange."""
    found: dict[str, list[RunFacts]] = {}
    for record in instance.get_run_records(dg.RunsFilter(job_name=INGEST_JOB, statuses=UNFINISHED)):
        run = record.dagster_run
        if run.status is dg.DagsterRunStatus.STARTED:
            phase, since = RunPhase.STARTED, record.start_time
        elif run.status is dg.DagsterRunStatus.CANCELING:
            phase, since = RunPhase.CANCELING, record.update_timestamp.timestamp()
        else:
            phase, since = RunPhase.QUEUED, record.create_timestamp.timestamp()
        since_ms = int((since or record.create_timestamp.timestamp()) * 1000)
        found.setdefault(run.tags.get(_PARTITION_TAG, ""), []).append(RunFacts(run.run_id, phase, since_ms))
    return found


def _start(row: ExchangeRow, action: StartRun, now_ms: int) -> dg.RunRequest:
    return dg.RunRequest(
        # Never a key of before: a run_key once used starts nothing, whatever became of its run.
        run_key=f"{row.name}:{now_ms}:{action.attempt}",
        partition_key=row.name,
        tags={"dagster-celery/queue": INGEST_QUEUE},
    )


def _end(instance: dg.DagsterInstance, action: Action) -> None:
    if not isinstance(action, CancelRun | StopRun):
        return
    run = instance.get_run_by_id(action.run_id)
    if run is None or run.is_finished:
        return
    instance.add_run_tags(run.run_id, {ENDED_BY_TAG: "keeper"})
    if isinstance(action, CancelRun) or not instance.run_launcher.terminate(run.run_id):
        instance.report_run_canceled(run, action.words)
