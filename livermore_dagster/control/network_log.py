"""Transitions and errors of an exchange's instances, kept 90 days (N5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import redis

from livermore_dagster.control.status import InstanceStatus
from livermore_dagster.stores.redis import keys

__all__ = ["NetworkEvent", "log_error", "log_transition", "read_log"]

_KEEP_MS = 90 * 86_400_000


class NetworkEvent(msgspec.Struct, frozen=True, rename="camel"):
    """`event` is 'transition' or 'error'; `at` epoch ms; `old`, `new` states, '' for an error."""

    event: str
    at: int
    exchange_name: str
    instance_id: str
    hostname: str
    ip_address: str
    old: str
    new: str
    message: str


def log_transition(
    client: redis.Redis, status: InstanceStatus, old: str, now_ms: int, message: str = ""
) -> None:
    _append(client, status, "transition", old, status.connection_state.value, now_ms, message)


def log_error(client: redis.Redis, status: InstanceStatus, now_ms: int, message: str) -> None:
    _append(client, status, "error", "", "", now_ms, message)


def read_log(client: redis.Redis, exchange_name: str, count: int = 100) -> list[NetworkEvent]:
    """Newest first."""
    rows: Any = client.xrevrange(keys.network_log(exchange_name), count=count)
    return [_event(fields.items()) for _, fields in rows]


def _event(items: Iterable[tuple[str, str]]) -> NetworkEvent:
    return msgspec.convert(dict(items), NetworkEvent, strict=False)


def _append(
    client: redis.Redis, status: InstanceStatus, event: str, old: str, new: str, now_ms: int, message: str
) -> None:
    entry = NetworkEvent(
        event=event,
        at=now_ms,
        exchange_name=status.exchange_name,
        instance_id=status.instance_id,
        hostname=status.hostname,
        ip_address=status.ip_address,
        old=old,
        new=new,
        message=message,
    )
    client.xadd(
        keys.network_log(status.exchange_name),
        msgspec.to_builtins(entry),
        minid=str(now_ms - _KEEP_MS),
        approximate=True,
    )
