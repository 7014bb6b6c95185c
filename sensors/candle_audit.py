"""Turns the boundaries of full hours into audits: a run of its own, when the boundary's candles are there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby

import dagster as dg
import redis

from livermore_dagster.audit.hourly import due_from
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.runs import UNFINISHED
from livermore_dagster.resources import (
    AUDIT_CHECK,
    AUDIT_JOB,
    BOUNDARY_TAG,
    PlatformResource,
    check_key,
    sensor_status,
)
from livermore_dagster.stores.redis.audits import note_due
from livermore_dagster.stores.redis.boundaries import BoundaryEvent, last_handled_sync, read_boundaries
from sensors.boundary_events import (
    EVENTS_A_READ,
    ROW_OF,
    WAIT_MS,
    advance,
    hour_ended,
    judged_timeframes,
    read_cursor,
    union,
)
from sensors.old_runs import forget_old_runs

__all__ = ["audit_sensor", "audited_timeframes", "run_request"]


def audited_timeframes(event: BoundaryEvent) -> list[Timeframe]:
    """What the exchange streams, of the hour or longer: what it does not, REST gave in the first place."""
    if not hour_ended(event):
        return []
    streamed = ROW_OF[event.exchange_id].streamed_timeframes
    return [tf for tf in judged_timeframes(event) if tf in streamed]


def run_request(event: BoundaryEvent) -> dg.RunRequest:
    name = ROW_OF[event.exchange_id].name
    return dg.RunRequest(
        run_key=f"audit:{name}:{event.boundary_ms}",
        asset_check_keys=[check_key("candles", tf, AUDIT_CHECK, name) for tf in audited_timeframes(event)],
        # A job of checks alone has no partitions of its own to resolve a key by.
        tags={"dagster/partition": name, BOUNDARY_TAG: str(event.boundary_ms)},
    )


@dg.sensor(
    name="candle_audit",
    description=(
        "Waits up to 4 s per tick for the boundary of a full hour (a Redis stream, no clock of its own) and, "
        "when the boundary's candles have been brought up, starts one run that compares what settled since "
        "the last audit with the exchange's own candles. One run at a time: further hours wait, and are one "
        "audit then."
    ),
    job_name=AUDIT_JOB,
    minimum_interval_seconds=1,  # 0 would mean the default of 30
    default_status=sensor_status(),
)
def audit_sensor(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
    """Cursor: JSON of the last stream id handled per exchange id."""
    client = platform.redis()
    cursor = read_cursor(context.cursor)
    events = read_boundaries(client, cursor, WAIT_MS, EVENTS_A_READ)
    if not events:
        forget_old_runs(context.instance, _OWN_RUNS)
        return dg.SensorResult(
            skip_reason=f"No exchange's clock reached a boundary within {WAIT_MS / 1000:.0f} s.",
            cursor=json.dumps(cursor),
        )
    _note_due(client, events)
    waiting: list[list[BoundaryEvent]] = []
    for ready in _brought_up(client, events).values():
        # A full page is long past: what follows it stands for it, for its audits are noted as owed.
        if len(ready) < EVENTS_A_READ and audited_timeframes(union(ready)[0]):
            waiting.append(ready)
        else:
            advance(cursor, ready)
    under_way = context.instance.get_runs_count(dg.RunsFilter(tags=_OWN_RUNS, statuses=UNFINISHED))
    if not waiting or under_way:
        forget_old_runs(context.instance, _OWN_RUNS)
        return dg.SensorResult(skip_reason=_words(events, waiting), cursor=json.dumps(cursor))
    # The oldest: an exchange whose audits take long lets the others have their turn.
    taken = min(waiting, key=lambda ready: (ready[0].boundary_ms, ready[0].exchange_id))
    advance(cursor, taken)
    return dg.SensorResult(run_requests=[run_request(union(taken)[0])], cursor=json.dumps(cursor))


_OWN_RUNS = {"dagster/sensor_name": "candle_audit"}


def _note_due(client: redis.Redis, events: Sequence[BoundaryEvent]) -> None:
    """Before anything may fail: from the oldest of these hours on, each timeframe is owed an audit."""
    for event in events:
        for timeframe in audited_timeframes(event):
            note_due(client, event.exchange_id, timeframe, due_from(timeframe, event.boundary_ms))


def _brought_up(client: redis.Redis, events: Sequence[BoundaryEvent]) -> Mapping[int, list[BoundaryEvent]]:
    """By exchange, oldest first: the boundaries whose candles were fetched, by whomever. An audit before that
    would ask for the same, and call a difference what is only not there yet."""
    found: dict[int, list[BoundaryEvent]] = {}
    by_exchange = sorted(events, key=lambda one: (one.exchange_id, one.boundary_ms))
    for exchange_id, own in groupby(by_exchange, key=lambda one: one.exchange_id):
        handled_ms = last_handled_sync(client, exchange_id) or 0
        if ready := [event for event in own if event.boundary_ms <= handled_ms]:
            found[exchange_id] = ready
    return found


def _words(events: Sequence[BoundaryEvent], waiting: Sequence[Sequence[BoundaryEvent]]) -> str:
    def names(ids: set[int]) -> str:
        return ", ".join(ROW_OF[exchange_id].name for exchange_id in sorted(ids))

    if waiting:
        return f"An audit is under way; that of {names({own[0].exchange_id for own in waiting})} waits."
    return f"No audit is due on {names({event.exchange_id for event in events})}, or its candles are awaited."
