"""Turns account events into runs: a new fill, order or account makes that account's trades be read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

import dagster as dg
import redis
import structlog

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.incidents import IncidentName
from livermore_dagster.market.moments import clock_text
from livermore_dagster.platform.dagster_yaml import BATCH_QUEUE, BOUNDARY_QUEUE
from livermore_dagster.platform.run_launcher import ENDED_BY_TAG
from livermore_dagster.platform.runs import UNFINISHED
from livermore_dagster.resources import ACCOUNTS, PlatformResource, sensor_status
from livermore_dagster.stores.redis.account_events import AccountEvent, read_events
from livermore_dagster.stores.redis.metrics import incident_sync

__all__ = ["ACCOUNT_ASSETS", "ACCOUNT_TAG", "PAUSES_S", "AccountCursor", "Asked", "account_sensor", "take"]

log = structlog.get_logger(__name__)

WAIT_MS = 4_000
"""A tick waits this long for an event, as the boundaries' does."""
BUSY_WAIT_MS = 1_000
"""… and this long while an account waits for its own run to end."""
EVENTS_A_READ = 1_000
PAUSES_S = (60, 120, 300, 900, 1_800, 3_600)
"""How long after a run has failed the next one is asked for; after the last pause its news is given up."""
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
class Asked:
    """News of an account that a run was asked for, and no run is known to have read."""

    event: AccountEvent
    tries: int = 1
    interrupted: int = 0
    """Runs that `livermore down` ended, which say nothing about the account."""
    again_ms: int | None = None
    """When the next run is asked for, now that the last one failed; wall clock."""
    given_up: bool = False
    """Only further news of the account make it be read again."""


@dataclass(slots=True)
class AccountCursor:
    """Last stream id seen per exchange id, and by account key what is still to be read."""

    seen: dict[int, str]
    waiting: dict[str, AccountEvent] = field(default_factory=dict)
    """The newest event whose run could not be asked for yet; one of an account just added stays so."""
    asked: dict[str, Asked] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> AccountCursor:
        known = json.loads(text or "{}")
        seen = {row.id: str(known.get("seen", {}).get(str(row.id), "0")) for row in ROWS}
        waiting = {key: AccountEvent(**event) for key, event in known.get("waiting", {}).items()}
        asked = {
            key: Asked(**{**one, "event": AccountEvent(**one["event"])})
            for key, one in known.get("asked", {}).items()
        }
        return cls(seen, waiting, asked)

    def text(self) -> str:
        return json.dumps(asdict(self))


def take(cursor: AccountCursor, events: Iterable[AccountEvent]) -> set[str]:
    """Moves the cursor on over `events`; the keys of accounts that were removed."""
    removed: set[str] = set()
    for event in events:
        cursor.seen[event.exchange_id] = event.entry_id
        key = f"{_NAMES[event.exchange_id]}.{event.account_id}"
        if event.kind == "removed":
            removed.add(key)
            cursor.waiting.pop(key, None)
            cursor.asked.pop(key, None)
            continue
        removed.discard(key)
        held = cursor.waiting.get(key) or _unread(cursor.asked.get(key))
        # A whole history may have to be read: that is nothing for the queue that must be quick.
        if held is not None and held.kind in ("added", "resumed"):
            event = replace(event, kind=held.kind)
        cursor.waiting[key] = event
    return removed


def _unread(asked: Asked | None) -> AccountEvent | None:
    """What a failed run should have read."""
    return asked.event if asked is not None and (asked.again_ms is not None or asked.given_up) else None


def run_request(key: str, asked: Asked) -> dg.RunRequest:
    event, runs = asked.event, asked.tries + asked.interrupted
    quick = event.kind in ("fill", "order")
    again = f":{runs}" if runs > 1 else ""
    return dg.RunRequest(
        run_key=f"{key}:{event.entry_id}{again}",
        partition_key=key,
        asset_selection=[dg.AssetKey(path) for path in ACCOUNT_ASSETS],
        tags={
            "dagster-celery/queue": BOUNDARY_QUEUE if quick else BATCH_QUEUE,
            "dagster/max_retries": "3",
            # Of a worker that died, and of nothing else: each try of a refused key is a signed request.
            "dagster/retry_on_asset_or_op_failure": "false",
            ACCOUNT_TAG: key,
        },
    )


@dg.sensor(
    name="account_fills",
    description=(
        "Waits up to 4 s per tick for news of an account (a Redis stream: it was added, or its user channel "
        "told of a fill or an order) and starts one run that reads its trades and makes its fee reports. "
        "While an account's run is under way, its further news wait. What failed runs should have read is "
        "asked for again after 1, 2, 5, 15 and 30 minutes, then given up until there is news; what a stop of "
        "the platform interrupted is asked for at once."
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
    requests = _retries(context.instance, cursor, platform.redis(), SystemClock().now_ms())
    requests += _requests(context.instance, cursor)
    known = set(context.instance.get_dynamic_partitions(ACCOUNTS.name or ""))
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
    return dg.SensorResult(skip_reason=_words(cursor), cursor=cursor.text())


def _requests(instance: dg.DagsterInstance, cursor: AccountCursor) -> list[dg.RunRequest]:
    """One per account with news and without a run under way; those leave `waiting`."""
    requests = []
    for key, event in list(cursor.waiting.items()):
        if _is_busy(instance, key):
            continue
        cursor.asked[key] = Asked(event)
        requests.append(run_request(key, cursor.asked[key]))
        del cursor.waiting[key]
    return requests


def _retries(
    instance: dg.DagsterInstance, cursor: AccountCursor, client: redis.Redis, now_ms: int
) -> list[dg.RunRequest]:
    """Runs for accounts whose last one failed, Dagster's own retries of it included, and whose pause is over;
    at once where it was ended with the platform.

    `now_ms`: wall clock. What was read leaves `asked`; what is given up is told.
    """
    requests = []
    for key, asked in list(cursor.asked.items()):
        if asked.given_up or key in cursor.waiting or _is_busy(instance, key):
            continue
        newest = _newest(instance, key)
        if newest is not None and _was_interrupted(newest):
            asked.interrupted, asked.again_ms = asked.interrupted + 1, None
            requests.append(run_request(key, asked))
        elif newest is None or newest.status is not dg.DagsterRunStatus.FAILURE:
            del cursor.asked[key]
        elif asked.again_ms is None:
            asked.again_ms = now_ms + PAUSES_S[asked.tries - 1] * 1000
        elif now_ms < asked.again_ms:
            continue
        elif asked.tries < len(PAUSES_S):
            asked.tries, asked.again_ms = asked.tries + 1, None
            requests.append(run_request(key, asked))
        else:
            asked.given_up = True
            text = f"{asked.tries} runs in a row could not read the trades of {key}; its next news start one."
            log.error("account_unread", account=key, text=text)
            incident_sync(client, IncidentName.ACCOUNT_UNREAD, asked.event.exchange_id, text)
    return requests


def _is_busy(instance: dg.DagsterInstance, key: str) -> bool:
    return instance.get_runs_count(dg.RunsFilter(tags={ACCOUNT_TAG: key}, statuses=UNFINISHED)) > 0


def _newest(instance: dg.DagsterInstance, key: str) -> dg.DagsterRun | None:
    return next(iter(instance.get_runs(dg.RunsFilter(tags={ACCOUNT_TAG: key}), limit=1)), None)


def _was_interrupted(run: dg.DagsterRun) -> bool:
    """Canceled with the platform; one that a person canceled was so on purpose."""
    return run.status is dg.DagsterRunStatus.CANCELED and ENDED_BY_TAG in run.tags


def _words(cursor: AccountCursor) -> str:
    told = []
    if cursor.waiting:
        told.append(f"News of {', '.join(sorted(cursor.waiting))} wait for the end of its run.")
    for key, asked in sorted(cursor.asked.items()):
        if asked.given_up:
            told.append(f"{asked.tries} runs could not read {key}: it waits for its next news.")
        elif asked.again_ms is not None:
            again = clock_text(asked.again_ms)
            told.append(f"The run that should read {key} failed: the next is asked for at {again}.")
    return " ".join(told) or f"No news of an account within {WAIT_MS / 1000:.0f} s."
