"""Turns symbol events into runs: a start, a request or a doubt has an exchange's product list looked at."""

from __future__ import annotations

import json
from collections.abc import Iterable

import dagster as dg

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.platform.dagster_yaml import BATCH_QUEUE
from livermore_dagster.platform.runs import UNFINISHED
from livermore_dagster.resources import (
    SYMBOLS,
    SYMBOLS_REASON_TAG,
    PlatformResource,
    sensor_status,
    symbol_check_keys,
)
from livermore_dagster.stores.redis.symbol_events import SymbolEvent, read_symbol_events

__all__ = ["newest_by_exchange", "run_request", "symbol_sensor"]

WAIT_MS = 4_000
"""A tick waits this long for an event, as the boundaries' does."""
EVENTS_A_READ = 200
_NAMES = {row.id: row.name for row in ROWS}


def newest_by_exchange(events: Iterable[SymbolEvent]) -> list[SymbolEvent]:
    """One per exchange: the newest, but any other reason outweighs a start, which may use the stored list."""
    found: dict[int, SymbolEvent] = {}
    for event in events:
        held = found.get(event.exchange_id)
        if held is None or event.kind != "start" or held.kind == "start":
            found[event.exchange_id] = event
    return sorted(found.values(), key=lambda one: one.exchange_id)


def run_request(event: SymbolEvent) -> dg.RunRequest:
    name = _NAMES[event.exchange_id]
    return dg.RunRequest(
        run_key=f"symbols:{name}:{event.entry_id}",
        partition_key=name,
        asset_selection=[SYMBOLS],
        asset_check_keys=symbol_check_keys(name),
        tags={
            "dagster-celery/queue": BATCH_QUEUE,
            "dagster/max_retries": "3",
            SYMBOLS_REASON_TAG: event.kind,
        },
    )


@dg.sensor(
    name="symbol_universe",
    description=(
        "Waits up to 4 s per tick for a reason to look at an exchange's product list (a Redis stream: an "
        "instance started, someone asked, a symbol was refused or fell silent, a UTC day began by the "
        "exchange's clock) and starts one run per exchange. While that is under way, further reasons wait."
    ),
    asset_selection=dg.AssetSelection.assets(SYMBOLS),
    minimum_interval_seconds=1,  # 0 would mean the default of 30
    default_status=sensor_status(),
)
def symbol_sensor(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
    """Cursor: JSON of the last stream id handled per exchange id."""
    known = {int(exchange): str(entry) for exchange, entry in json.loads(context.cursor or "{}").items()}
    cursor = {row.id: known.get(row.id, "0") for row in ROWS}
    events = read_symbol_events(platform.redis(), cursor, WAIT_MS, EVENTS_A_READ)
    busy = _busy(context.instance)
    taken = [event for event in events if _NAMES[event.exchange_id] not in busy]
    for event in taken:
        cursor[event.exchange_id] = event.entry_id
    requests = [run_request(event) for event in newest_by_exchange(taken)]
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor))
    words = f"No reason to look within {WAIT_MS / 1000:.0f} s."
    if events:
        words = f"{', '.join(sorted(busy))} is being looked at; what came since waits."
    return dg.SensorResult(skip_reason=words, cursor=json.dumps(cursor))


def _busy(instance: dg.DagsterInstance) -> set[str]:
    """Exchanges whose list a run of this sensor looks at now."""
    looking = instance.get_runs(
        dg.RunsFilter(tags={"dagster/sensor_name": "symbol_universe"}, statuses=UNFINISHED)
    )
    return {run.tags.get("dagster/partition", "") for run in looking}
