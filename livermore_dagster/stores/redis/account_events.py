"""The account events stream: what makes it worth reading an account again, one entry each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis
import redis.asyncio

from livermore_dagster.stores.redis import keys

__all__ = ["AccountEvent", "EventKind", "append_event", "read_events"]

EventKind = Literal["added", "removed", "fill", "order", "resumed"]
"""`resumed`: the user channel flows (again); what happened before is not told by it."""
STREAM_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """`account_id` is the row of user_exchanges; `at_ms` the exchange's time, or wall time without one."""

    exchange_id: int
    account_id: int
    kind: EventKind
    at_ms: int
    symbol: str = ""
    order_id: str = ""
    fill_id: str = ""
    entry_id: str = ""


async def append_event(client: redis.asyncio.Redis, event: AccountEvent) -> str:
    """Appends it; the entry's id."""
    entry = {
        "account_id": str(event.account_id),
        "kind": event.kind,
        "at_ms": str(event.at_ms),
        "symbol": event.symbol,
        "order_id": event.order_id,
        "fill_id": event.fill_id,
    }
    stream = keys.account_events(event.exchange_id)
    return cast("str", await client.xadd(stream, cast("Any", entry), maxlen=STREAM_LENGTH))


def read_events(
    client: redis.Redis, cursor: Mapping[int, str], block_ms: int, count: int
) -> list[AccountEvent]:
    """Events after each exchange's id in `cursor` ('0' for all), oldest first within an exchange.

    Waits up to `block_ms` for the first; `count` bounds the entries per exchange.
    """
    streams = {keys.account_events(exchange_id): entry for exchange_id, entry in cursor.items()}
    exchanges = {keys.account_events(exchange_id): exchange_id for exchange_id in cursor}
    reply = client.xread(cast("Any", streams), count=count, block=block_ms or None)
    return [
        AccountEvent(
            exchanges[stream],
            int(fields["account_id"]),
            fields["kind"],
            int(fields["at_ms"]),
            fields["symbol"],
            fields["order_id"],
            fields["fill_id"],
            entry_id,
        )
        for stream, entries in cast("Any", reply or [])
        for entry_id, fields in entries
    ]
