"""Turns boundary events into runs: one sensor that waits on all exchanges' streams, one run per exchange
and boundary."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import dagster as dg
import redis

from livermore_dagster.control.status import living_status
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.dagster_yaml import BOUNDARY_QUEUE, START_TIMEOUT_S
from livermore_dagster.platform.runs import UNFINISHED
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
from sensors.boundary_events import (
    EVENTS_A_READ,
    ROW_OF,
    WAIT_MS,
    advance,
    judged_timeframes,
    read_cursor,
    union,
)
from sensors.old_runs import forget_old_runs

__all__ = ["LAYERS", "LINGER_S", "boundary_sensor", "run_request"]

LINGER_S = 0.7
"""The daemon looks again only 5 s after a tick began: one that has an event waits this long for the other
exchanges that run, whose clocks pass the boundary within a heartbeat of each other. Alone, or beside idle
ones, an exchange waits for nobody."""
LONGEST_S = 300
NEVER_LONGER_S = START_TIMEOUT_S + 2 * LONGEST_S
"""An older run that has not ended never will, such as one that was recorded and not submitted."""
LAYERS = ("candles", "macdv", "indicators")
RETENTION = "retention"
"""Asset and group: what is too old leaves when a day ends."""


def run_request(event: BoundaryEvent) -> dg.RunRequest | None:
    """The one run of a boundary; None where nothing the exchange has fell due."""
    row = ROW_OF[event.exchange_id]
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
        asset_check_keys=_checks(event),
        tags={
            "dagster-celery/queue": BOUNDARY_QUEUE,
            "dagster/max_runtime": str(LONGEST_S),
            # A run_key is used up by a failed run too: without retries its boundary would never run again.
            "dagster/max_retries": "3",
            BOUNDARY_TAG: str(event.boundary_ms),
            DUE_TAG: ",".join(tf.value for tf in due),
            RAISED_TAG: str(event.wall_ms),
        },
    )


def _checks(event: BoundaryEvent) -> list[dg.AssetCheckKey]:
    """What can be judged without a request; to ask the exchange is the audit's, which runs by itself."""
    name, judged = ROW_OF[event.exchange_id].name, judged_timeframes(event)
    found = [check_key("candles", tf, check, name) for tf in judged for check in ("no_gaps", "sane", "fresh")]
    return [*found, *(check_key("macdv", tf, "live_equals_batch", name) for tf in judged)]


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
    cursor = read_cursor(context.cursor)
    at_work = _at_work(context.instance)
    heard = {exchange: entry for exchange, entry in cursor.items() if exchange not in at_work}
    if not heard:
        return dg.SensorResult(
            skip_reason="A boundary run of every exchange is at work.", cursor=json.dumps(cursor)
        )
    events = read_boundaries(client, heard, WAIT_MS, EVENTS_A_READ)
    if not events:
        forget_old_runs(context.instance, {"dagster-celery/queue": BOUNDARY_QUEUE})
        return dg.SensorResult(
            skip_reason=f"No exchange's clock reached a boundary within {WAIT_MS / 1000:.0f} s.",
            cursor=json.dumps(cursor),
        )
    advance(heard, events)
    merged = union([*events, *_siblings(client, heard, events)])
    cursor |= heard
    requests = [request for event in merged if (request := run_request(event)) is not None]
    if not requests:
        names = ", ".join(ROW_OF[event.exchange_id].name for event in merged)
        return dg.SensorResult(skip_reason=f"Nothing due on {names}.", cursor=json.dumps(cursor))
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor))


def _at_work(instance: dg.DagsterInstance) -> set[int]:
    """Exchanges of which a boundary run has not ended: what fell due since is left to one run after it.

    Runs that outlast a boundary, of a fast market or on a busy machine, would else wait in a growing row, and
    one exchange's take the slots of all.
    """
    wanted = dg.RunsFilter(
        tags={"dagster-celery/queue": BOUNDARY_QUEUE},
        statuses=UNFINISHED,
        created_after=datetime.now(UTC) - timedelta(seconds=NEVER_LONGER_S),
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
        advance(cursor, more)
        found += more
    return found


def _raises(client: redis.Redis, row: ExchangeRow) -> bool:
    status = living_status(cast("str | None", client.get(keys.status(row.id))))
    return status is not None and status.flowing
