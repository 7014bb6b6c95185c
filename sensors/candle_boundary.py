"""Turns boundary events into runs: one sensor that waits on all exchanges' streams, one run per exchange
and boundary."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import dagster as dg
import redis

from livermore_dagster.control.status import living_status
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.platform.dagster_yaml import BOUNDARY_QUEUE
from livermore_dagster.resources import (
    BOUNDARY_TAG,
    DUE_TAG,
    RAISED_TAG,
    PlatformResource,
    check_key,
    sensor_status,
)
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.boundaries import BoundaryEvent, read_boundaries

__all__ = ["LAYERS", "LINGER_S", "WAIT_MS", "boundary_sensor", "forget_old_runs", "run_request", "union"]

WAIT_MS = 4_000
"""A tick waits this long for an event: well under the daemon's 60 s, long enough to nearly always be
listening."""
LINGER_S = 0.7
"""The daemon looks again only 5 s after a tick began: one that has an event waits this long for the other
exchanges
that run, whose clocks pass the boundary within a heartbeat of each other. Alone, or beside idle ones, an
exchange waits for nobody."""
EVENTS_A_READ = 200
KEPT_DAYS = 14
"""Boundary runs older than this are forgotten, in ticks that have nothing else to do."""
FORGOTTEN_A_TICK = 20
LAYERS = ("candles", "macdv", "indicators")
RETENTION = "retention"
"""Asset and group: what is too old leaves when a day ends."""
AUDITED_MS = Timeframe.H1.ms
_ROWS: Mapping[int, ExchangeRow] = {row.id: row for row in ROWS}


def union(events: Iterable[BoundaryEvent]) -> list[BoundaryEvent]:
    """One event per exchange: its newest boundary, with the timeframes of all older ones given."""
    newest: dict[int, BoundaryEvent] = {}
    for event in sorted(events, key=lambda one: one.boundary_ms):
        held = newest.get(event.exchange_id)
        timeframes = set(event.timeframes) | set(held.timeframes if held else ())
        newest[event.exchange_id] = BoundaryEvent(
            event.exchange_id,
            event.entry_id,
            event.boundary_ms,
            tuple(tf for tf in TIMEFRAMES if tf in timeframes),
            event.settled,
            event.unsettled,
            event.wall_ms,
        )
    return sorted(newest.values(), key=lambda one: one.exchange_id)


def run_request(event: BoundaryEvent) -> dg.RunRequest | None:
    """The one run of a boundary; None where nothing the exchange has fell due."""
    row = _ROWS[event.exchange_id]
    due = [tf for tf in event.timeframes if tf in row.timeframes]
    if not due:
        return None
    assets = [dg.AssetKey([layer, tf.value]) for tf in due for layer in LAYERS]
    if Timeframe.D1 in due:
        assets.append(dg.AssetKey([RETENTION]))
    return dg.RunRequest(
        run_key=f"{row.name}:{event.boundary_ms}",
        partition_key=row.name,
        asset_selection=assets,
        asset_check_keys=_checks(row, event, due),
        tags={
            "dagster-celery/queue": BOUNDARY_QUEUE,
            "dagster/max_runtime": "300",
            # A run_key is used up by a failed run too: without retries its boundary would never run again.
            "dagster/max_retries": "3",
            BOUNDARY_TAG: str(event.boundary_ms),
            DUE_TAG: ",".join(tf.value for tf in due),
            RAISED_TAG: str(event.wall_ms),
        },
    )


def _checks(row: ExchangeRow, event: BoundaryEvent, due: Sequence[Timeframe]) -> list[dg.AssetCheckKey]:
    """What can be judged without a request, of the timeframes due; once an hour of those shorter than any
    boundary too, and the audit of all that are streamed."""
    hour_ended = _hour_ended(event)
    short = [tf for tf in row.streamed_timeframes if tf.ms < Timeframe.M15.ms and hour_ended]
    judged = [*short, *due]
    found = [
        check_key("candles", tf, name, row.name) for tf in judged for name in ("no_gaps", "sane", "fresh")
    ]
    found += [check_key("macdv", tf, "live_equals_batch", row.name) for tf in judged]
    if hour_ended:
        audited = [tf for tf in judged if tf in row.streamed_timeframes]
        found += [check_key("candles", tf, "matches_exchange", row.name) for tf in audited]
    return found


def _hour_ended(event: BoundaryEvent) -> bool:
    """Whether a full hour lies in (last boundary handled, this one]: what lasts so long is due then, also
    where nobody was there at the hour itself and a later boundary stands for it."""
    return event.boundary_ms % AUDITED_MS == 0 or any(tf.ms >= AUDITED_MS for tf in event.timeframes)


def _cursor(text: str | None) -> dict[int, str]:
    known = {int(exchange): str(entry) for exchange, entry in json.loads(text or "{}").items()}
    return {row.id: known.get(row.id, "0") for row in ROWS}


@dg.sensor(
    name="candle_boundary",
    description=(
        "Waits up to 4 s per tick for an exchange's clock to reach a 15m boundary (a Redis stream, "
        "no clock of "
        "its own) and starts one run that brings every timeframe due up to it."
    ),
    asset_selection=dg.AssetSelection.groups(*LAYERS, RETENTION),
    minimum_interval_seconds=1,  # 0 would mean the default of 30
    default_status=sensor_status(),
)
def boundary_sensor(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
    """Cursor: JSON of the last stream id seen per exchange id."""
    client = platform.redis()
    cursor = _cursor(context.cursor)
    waiting = _waiting(context.instance)
    heard = {exchange: entry for exchange, entry in cursor.items() if exchange not in waiting}
    events = read_boundaries(client, heard, WAIT_MS, EVENTS_A_READ)
    if not events:
        forget_old_runs(context.instance)
        return dg.SensorResult(
            skip_reason=f"No exchange's clock reached a boundary within {WAIT_MS / 1000:.0f} s.",
            cursor=json.dumps(cursor),
        )
    _advance(heard, events)
    merged = union([*events, *_siblings(client, heard, events)])
    cursor |= heard
    requests = [request for event in merged if (request := run_request(event)) is not None]
    if not requests:
        names = ", ".join(_ROWS[event.exchange_id].name for event in merged)
        return dg.SensorResult(skip_reason=f"Nothing due on {names}.", cursor=json.dumps(cursor))
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor))


def forget_old_runs(instance: dg.DagsterInstance, kept_days: int = KEPT_DAYS) -> int:
    """Delete a few boundary runs older than `kept_days`, oldest last; how many. What they made stays
    recorded."""
    before = datetime.now(UTC) - timedelta(days=kept_days)
    wanted = dg.RunsFilter(
        tags={"dagster-celery/queue": BOUNDARY_QUEUE},
        statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        created_before=before,
    )
    old = instance.get_runs(wanted, limit=FORGOTTEN_A_TICK)
    for run in old:
        instance.delete_run(run.run_id)
    return len(old)


def _waiting(instance: dg.DagsterInstance) -> set[int]:
    """Exchanges of which a boundary run has yet to begin: what fell due since is left to one run after it.

    Runs that outlast a boundary, of a fast market or on a busy machine, would else wait in a growing row.
    """
    wanted = dg.RunsFilter(
        tags={"dagster-celery/queue": BOUNDARY_QUEUE},
        statuses=[dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING],
    )
    names = {run.tags.get("dagster/partition") for run in instance.get_runs(wanted)}
    return {row.id for row in ROWS if row.name in names}


def _siblings(
    client: redis.Redis, cursor: dict[int, str], events: Sequence[BoundaryEvent]
) -> list[BoundaryEvent]:
    """Events of the other exchanges that run and follow within LINGER_S; `cursor` moves on over them."""
    running = {row.id for row in ROWS if row.id in cursor and _raises(client, row)}
    found: list[BoundaryEvent] = []
    deadline = time.monotonic() + LINGER_S
    while running - {one.exchange_id for one in (*events, *found)}:
        left_ms = int((deadline - time.monotonic()) * 1000)
        if left_ms <= 0:
            break
        more = read_boundaries(client, cursor, left_ms, EVENTS_A_READ)
        _advance(cursor, more)
        found += more
    return found


def _raises(client: redis.Redis, row: ExchangeRow) -> bool:
    status = living_status(cast("str | None", client.get(keys.status(row.id))))
    return status is not None and status.flowing


def _advance(cursor: dict[int, str], events: Iterable[BoundaryEvent]) -> None:
    for event in events:
        cursor[event.exchange_id] = max(cursor[event.exchange_id], event.entry_id, key=_order)


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
