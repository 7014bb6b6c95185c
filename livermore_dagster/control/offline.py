"""Instances that ended without a word: told once by whoever lives; and their exchange's return (N6)."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import msgspec
import redis
import structlog

from livermore_dagster.control.network_log import EventKind, entry_fields, log_event, oldest_kept
from livermore_dagster.control.scripts import control_script
from livermore_dagster.control.status import InstanceStatus
from livermore_dagster.incidents import IncidentName
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.metrics import incident_sync

__all__ = ["note_back", "tell_offline"]

log = structlog.get_logger(__name__)


class _Told(msgspec.Struct):
    """Of the newest instance that went offline. `last_heartbeat`: epoch ms. `back`: that was told too."""

    token: str
    place: str
    last_heartbeat: int
    back: bool = False


def tell_offline(client: redis.Redis, lost: InstanceStatus, now_ms: int) -> bool:
    """Network log and incident, once per instance however many notice it at once.

    `now_ms`: wall-clock epoch ms. False when it had been told.
    """
    told = _Told(lost.token, lost.place, lost.last_heartbeat)
    words = offline_words(lost)
    fields = entry_fields(lost, EventKind.OFFLINE, now_ms, words)
    first = client.eval(
        control_script("note_offline"),
        2,
        keys.offline(lost.exchange_id),
        keys.network_log(lost.exchange_name),
        lost.token,
        msgspec.json.encode(told).decode(),
        oldest_kept(now_ms),
        *map(str, itertools.chain.from_iterable(fields.items())),
    )
    if first != 1:
        return False
    text = f"{lost.exchange_name} is offline: {words}"
    log.error("instance_offline", exchange=lost.exchange_name, text=text)
    incident_sync(client, IncidentName.INSTANCE_OFFLINE, lost.exchange_id, text)
    return True


def note_back(client: redis.Redis, status: InstanceStatus, now_ms: int) -> None:
    """The instance `status` has become active: told once where one before it had gone offline."""
    text = client.get(keys.offline(status.exchange_id))
    if text is None:
        return
    told = msgspec.json.decode(str(text), type=_Told)
    if told.back or told.token == status.token:
        return
    told.back = True
    client.set(keys.offline(status.exchange_id), msgspec.json.encode(told))
    gone_s = max(0, now_ms - told.last_heartbeat) / 1000
    words = f"Active on {status.place}, {gone_s:.0f} s after {told.place} was last heard of."
    log_event(client, status, EventKind.BACK, now_ms, words)
    text = f"{status.exchange_name} is back. {words}"
    log.info("instance_back", exchange=status.exchange_name, text=text)
    incident_sync(client, IncidentName.INSTANCE_BACK, status.exchange_id, text)


def offline_words(last: InstanceStatus) -> str:
    """Last known facts in a sentence or two."""
    heard = datetime.fromtimestamp(last.last_heartbeat / 1000, UTC)
    words = (
        f"It was {last.connection_state.value} on {last.place} with {last.symbol_count} symbols, "
        f"last heard of {heard:%H:%M:%S} UTC."
    )
    return f"{words} It said: {last.last_error}" if last.last_error else words
