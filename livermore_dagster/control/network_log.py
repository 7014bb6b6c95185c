"""Transitions and errors of an exchange's instances, kept 90 days (N5)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec
import redis

from livermore_dagster.control.status import InstanceStatus
from livermore_dagster.stores.redis import keys

__all__ = [
    "EventKind",
    "NetworkEvent",
    "entry_fields",
    "log_error",
    "log_event",
    "log_transition",
    "oldest_kept",
    "read_log",
]

_KEEP_MS = 90 * 86_400_000


class EventKind(StrEnum):
    TRANSITION = "transition"
    ERROR = "error"
    OFFLINE = "offline"
    """It ended without a word; told by another that lives."""
    TAKEN_OVER = "taken over"
    """Another instance holds the exchange after one that went offline."""
    HANDED_OVER = "handed over"
    BACK = "back"
    """The exchange is active again after somebody went offline."""
    STANDBY = "standby"
    """An instance began to wait for the exchange, which another holds."""


class NetworkEvent(msgspec.Struct, frozen=True, rename="camel"):
    """`event` is an EventKind; `at` epoch ms; `old`, `new` states, '' but for a transition.

    Instance, host and address are of the instance the event is about.
    """

    event: str
    at: int
    exchange_name: str
    instance_id: str
    hostname: str
    ip_address: str
    old: str
    new: str
    message: str
    home: str = ""
    """`control.process.home_name` of the instance's platform."""


def log_transition(
    client: redis.Redis, status: InstanceStatus, old: str, now_ms: int, message: str = ""
) -> None:
    _append(client, status, EventKind.TRANSITION, now_ms, message, old)


def log_error(client: redis.Redis, status: InstanceStatus, now_ms: int, message: str) -> None:
    _append(client, status, EventKind.ERROR, now_ms, message)


def log_event(
    client: redis.Redis, status: InstanceStatus, kind: EventKind, now_ms: int, message: str
) -> None:
    """Of the instance `status`, in plain words."""
    _append(client, status, kind, now_ms, message)


def read_log(client: redis.Redis, exchange_name: str, count: int = 100) -> list[NetworkEvent]:
    """Newest first."""
    rows: Any = client.xrevrange(keys.network_log(exchange_name), count=count)
    return [_event(fields.items()) for _, fields in rows]


def oldest_kept(now_ms: int) -> str:
    """The stream id behind which entries are trimmed."""
    return str(now_ms - _KEEP_MS)


def entry_fields(
    status: InstanceStatus, kind: EventKind, now_ms: int, message: str, old: str = ""
) -> dict[str, Any]:
    """An entry as the stream holds it."""
    entry = NetworkEvent(
        event=kind.value,
        at=now_ms,
        exchange_name=status.exchange_name,
        instance_id=status.instance_id,
        hostname=status.hostname,
        ip_address=status.ip_address,
        old=old,
        new=status.connection_state.value if kind is EventKind.TRANSITION else "",
        message=message,
        home=status.home,
    )
    return dict(msgspec.to_builtins(entry))


def _event(items: Iterable[tuple[str, str]]) -> NetworkEvent:
    return msgspec.convert(dict(items), NetworkEvent, strict=False)


def _append(
    client: redis.Redis,
    status: InstanceStatus,
    kind: EventKind,
    now_ms: int,
    message: str,
    old: str = "",
) -> None:
    fields: Any = entry_fields(status, kind, now_ms, message, old)
    client.xadd(
        keys.network_log(status.exchange_name),
        fields,
        minid=oldest_kept(now_ms),
        approximate=True,
    )
