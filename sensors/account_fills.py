"""Turns account events into runs: a new fill, order or account makes that account's trades be read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import dagster as dg

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.platform.dagster_yaml import BATCH_QUEUE, BOUNDARY_QUEUE
from livermore_dagster.platform.runs import UNFINISHED
from livermore_dagster.resources import ACCOUNTS, PlatformResource, sensor_status
from livermore_dagster.stores.redis.account_events import AccountEvent, read_events

__all__ = ["ACCOUNT_ASSETS", "ACCOUNT_TAG", "AccountCursor", "account_sensor", "take"]

WAIT_MS = 4_000
"""A tick waits this long for an event, as the boundaries' does."""
BUSY_WAIT_MS = 1_000
"""… and this long while an account waits for its own run to end."""
EVENTS_A_READ = 1_000
ACCOUNT_TAG = "livermore/account"
ACCOUNT_ASSETS = (
    ["fills"],
    ["orders"],
    ["fee_tier"],
    ["positions"],
    ["fees", "by_symbol"],
    ["fees", "by_side"],
    ["fees", "by_month"],
    ["fees", "report"],
    ["portfolio"],
)
_NAMES = {row.id: row.name for row in ROWS}


@dataclass(slots=True)
class AccountCursor:
    """Last stream id seen per exchange id, and accounts with news whose run could not be asked for yet."""

    seen: dict[int, str]
    waiting: dict[str, AccountEvent] = field(default_factory=dict)
    """By account key, its newest event; one of an account that was just added stays so."""

    @classmethod
    def parse(cls, text: str | None) -> AccountCursor:
        known = json.loads(text or "{}")
        seen = {row.id: str(known.get("seen", {}).get(str(row.id), "0")) for row in ROWS}
        waiting = {key: AccountEvent(**event) for key, event in known.get("waiting", {}).items()}
        return cls(seen, waiting)

    def text(self) -> str:
        waiting = {
            key: {name: getattr(event, name) for name in event.__slots__}
            for key, event in self.waiting.items()
        }
        return json.dumps({"seen": self.seen, "waiting": waiting})


def take(cursor: AccountCursor, events: Iterable[AccountEvent]) -> set[str]:
    """Moves the cursor on over `events`; the keys of accounts that were removed."""
    removed: set[str] = set()
    for event in events:
        cursor.seen[event.exchange_id] = event.entry_id
        key = f"{_NAMES[event.exchange_id]}.{event.account_id}"
        if event.kind == "removed":
            removed.add(key)
            cursor.waiting.pop(key, None)
            continue
        removed.discard(key)
        held = cursor.waiting.get(key)
        # A whole history may have to be read: that is nothing for the queue that must be quick.
        if held is None or held.kind not in ("added", "resumed"):
            cursor.waiting[key] = event
    return removed


def run_request(key: str, event: AccountEvent) -> dg.RunRequest:
    quick = event.kind in ("fill", "order")
    return dg.RunRequest(
        run_key=f"{key}:{event.entry_id}",
        partition_key=key,
        asset_selection=[dg.AssetKey(path) for path in ACCOUNT_ASSETS],
        tags={
            "dagster-celery/queue": BOUNDARY_QUEUE if quick else BATCH_QUEUE,
            "dagster/max_retries": "3",
            ACCOUNT_TAG: key,
        },
    )


@dg.sensor(
    name="account_fills",
    description=(
        "Waits up to 4 s per tick for news of an account (a Redis stream: it was added, or its user channel "
        "told of a fill or an order) and starts one run that reads its trades and makes its fee reports. "
        "While an account's run is under way, its further news wait."
    ),
    asset_selection=dg.AssetSelection.assets(*ACCOUNT_ASSETS),
    minimum_interval_seconds=1,  # 0 would mean the default of 30
    default_status=sensor_status(),
)
def account_sensor(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
    cursor = AccountCursor.parse(context.cursor)
    wait_ms = BUSY_WAIT_MS if cursor.waiting else WAIT_MS
    events = read_events(platform.redis(), cursor.seen, wait_ms, EVENTS_A_READ)
    removed = take(cursor, events)
    known = set(context.instance.get_dynamic_partitions(ACCOUNTS.name or ""))
    requests = _requests(context.instance, cursor)
    changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    new = sorted({str(request.partition_key) for request in requests} - known)
    if new:
        changes.append(ACCOUNTS.build_add_request(new))
    if removed & known:
        changes.append(ACCOUNTS.build_delete_request(sorted(removed & known)))
    if requests or changes:
        return dg.SensorResult(
            run_requests=requests, dynamic_partitions_requests=changes, cursor=cursor.text()
        )
    return dg.SensorResult(skip_reason=_words(cursor.waiting), cursor=cursor.text())


def _requests(instance: dg.DagsterInstance, cursor: AccountCursor) -> list[dg.RunRequest]:
    """One per account with news and without a run under way; those leave `waiting`."""
    requests = []
    for key, event in list(cursor.waiting.items()):
        busy = dg.RunsFilter(tags={ACCOUNT_TAG: key}, statuses=UNFINISHED)
        if instance.get_runs_count(busy):
            continue
        requests.append(run_request(key, event))
        del cursor.waiting[key]
    return requests


def _words(waiting: Mapping[str, AccountEvent]) -> str:
    if waiting:
        return f"News of {', '.join(sorted(waiting))} wait for the end of its run."
    return f"No news of an account within {WAIT_MS / 1000:.0f} s."
