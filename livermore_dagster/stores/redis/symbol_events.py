"""The symbol events stream: what makes an exchange's product list worth another look, one entry each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import redis
import redis.asyncio

from livermore_dagster.stores.redis import keys

__all__ = ["SymbolEvent", "SymbolEventKind", "append_symbol_event", "doubt_symbol", "read_symbol_events"]

SymbolEventKind = Literal["start", "request", "doubt", "day"]
"""`doubt`: the exchange refused a symbol, or it fell silent; `day`: the exchange's clock began a UTC day."""
STREAM_LENGTH: Final = 1_000
DOUBTED_S: Final = 600
"""A symbol is doubted once in so long: the list was looked at, and says what it says."""


@dataclass(frozen=True, slots=True)
class SymbolEvent:
    """`at_ms`: wall clock. `symbol`: the doubtful one. `reason`: in words, for people."""

    exchange_id: int
    kind: SymbolEventKind
    at_ms: int
    symbol: str = ""
    reason: str = ""
    entry_id: str = ""


async def append_symbol_event(client: redis.asyncio.Redis, event: SymbolEvent) -> str:
    """Appends it; the entry's id."""
    entry = {
        "kind": event.kind,
        "at_ms": str(event.at_ms),
        "symbol": event.symbol,
        "reason": event.reason,
    }
    stream = keys.symbol_events(event.exchange_id)
    return cast("str", await client.xadd(stream, cast("Any", entry), maxlen=STREAM_LENGTH))


async def doubt_symbol(
    client: redis.asyncio.Redis, exchange_id: int, symbol: str, reason: str, at_ms: int
) -> None:
    """Has the list looked at because this symbol may trade no more; once in DOUBTED_S for each symbol."""
    key = keys.symbol_doubted(exchange_id, symbol)
    if await client.set(key, str(at_ms), nx=True, ex=DOUBTED_S):
        await append_symbol_event(client, SymbolEvent(exchange_id, "doubt", at_ms, symbol, reason))


def read_symbol_events(
    client: redis.Redis, cursor: Mapping[int, str], block_ms: int, count: int
) -> list[SymbolEvent]:
    """Events after each exchange's id in `cursor` ('0' for all), oldest first within an exchange.

    Waits up to `block_ms` for the first; `count` bounds the entries per exchange.
    """
    exchanges = {keys.symbol_events(exchange_id): exchange_id for exchange_id in cursor}
    streams = {stream: cursor[exchange_id] for stream, exchange_id in exchanges.items()}
    reply = client.xread(cast("Any", streams), count=count, block=block_ms or None)
    return [
        SymbolEvent(
            exchanges[stream],
            fields["kind"],
            int(fields["at_ms"]),
            fields["symbol"],
            fields["reason"],
            entry_id,
        )
        for stream, entries in cast("Any", reply or [])
        for entry_id, fields in entries
    ]
