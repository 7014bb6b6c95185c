"""Who waits for an exchange that another instance holds."""

from __future__ import annotations

import msgspec
import redis

from livermore_dagster.control.roster import Roster
from livermore_dagster.control.status import TTL_MS, InstanceStatus, decode_status
from livermore_dagster.stores.redis import keys

__all__ = ["StandbyFacts", "read_standbys", "standby_roster"]


class StandbyFacts(msgspec.Struct, frozen=True):
    """One that waits. `left_ms`: until it counts no more; `gone`: its process is certainly dead."""

    status: InstanceStatus
    left_ms: int
    gone: bool


def standby_roster(client: redis.Redis, exchange_id: int, ttl_ms: int = TTL_MS) -> Roster:
    return Roster(client, keys.standbys(exchange_id), lambda token: keys.standby(exchange_id, token), ttl_ms)


def read_standbys(client: redis.Redis, exchange_id: int) -> list[StandbyFacts]:
    """The one that waits longest first."""
    found = []
    for member in standby_roster(client, exchange_id).members():
        status = decode_status(member.text)
        found.append(StandbyFacts(status, member.left_ms, status.holder_is_gone()))
    return found
