"""The boundaries stream: one entry per exchange and 15m boundary, ever, and who fetches what fell due."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis
import redis.asyncio

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.scripts import lua

__all__ = [
    "BoundaryEvent",
    "BoundaryRecord",
    "begin",
    "finish",
    "handled",
    "last_handled",
    "last_handled_sync",
    "last_raised",
    "raise_boundary",
    "read_boundaries",
    "renew",
    "run_at_work",
    "run_lives",
]

STREAM_LENGTH = 2_000
"""Boundaries kept per exchange: about 20 days."""
RECORDS_KEPT = 500
STALE_MS = 30_000
"""A fetch that has not been renewed for this long is a dead fetcher's and may be taken over."""


@dataclass(frozen=True, slots=True)
class BoundaryEvent:
    """The exchange's clock has passed `boundary_ms`: candles of `timeframes` have just closed."""

    exchange_id: int
    entry_id: str
    boundary_ms: int
    timeframes: tuple[Timeframe, ...]
    settled: tuple[str, ...]
    """Symbols whose streamed candles up to the boundary are final or proven absent."""
    unsettled: tuple[str, ...]
    wall_ms: int


@dataclass(frozen=True, slots=True)
class BoundaryRecord:
    """Who fetches a boundary. `at_ms`: wall clock (the server's) of the last sign of life, or of the end."""

    state: Literal["started", "finished"]
    by: str
    at_ms: int


async def raise_boundary(
    client: redis.asyncio.Redis,
    exchange_id: int,
    boundary_ms: int,
    timeframes: Sequence[Timeframe],
    settled: Iterable[str],
    unsettled: Iterable[str],
    wall_ms: int,
) -> str | None:
    """Appends the boundary and returns the entry's id; None when it, or a later one, was raised before."""
    reply = await cast(
        "Any",
        client.eval(
            lua("raise_boundary"),
            3,
            keys.boundaries(exchange_id),
            keys.boundary_guard(exchange_id),
            keys.counters(exchange_id),
            str(boundary_ms),
            ",".join(timeframe.value for timeframe in timeframes),
            json.dumps(list(settled), separators=(",", ":")),
            json.dumps(list(unsettled), separators=(",", ":")),
            str(wall_ms),
            str(STREAM_LENGTH),
        ),
    )
    return cast("str | None", reply)


def read_boundaries(
    client: redis.Redis, cursor: Mapping[int, str], block_ms: int, count: int
) -> list[BoundaryEvent]:
    """Events after each exchange's id in `cursor` ('0' for all), oldest first, over all streams in one read.

    Waits up to `block_ms` for the first (0: not at all); `count` bounds the entries per exchange.
    """
    streams: dict[Any, Any] = {keys.boundaries(exchange_id): start for exchange_id, start in cursor.items()}
    reply = cast("Any", client.xread(streams, count=count, block=block_ms or None))
    found = [
        BoundaryEvent(
            exchange_id=int(key.rsplit(":", 1)[1]),
            entry_id=entry_id,
            boundary_ms=int(fields["b"]),
            timeframes=tuple(Timeframe(text) for text in fields["t"].split(",") if text),
            settled=tuple(json.loads(fields["s"])),
            unsettled=tuple(json.loads(fields["u"])),
            wall_ms=int(fields["w"]),
        )
        for key, entries in reply or []
        for entry_id, fields in entries
    ]
    return sorted(found, key=lambda event: (event.boundary_ms, event.exchange_id))


async def begin(
    client: redis.asyncio.Redis, exchange_id: int, boundary_ms: int, by: str, *, stale_ms: int = STALE_MS
) -> bool:
    """Whether `by` may fetch this boundary: nobody has begun it, or who had is silent for `stale_ms`.

    The same `by` may begin again. A finished boundary is never begun again.
    """
    return await _record(client, exchange_id, "begin", boundary_ms, by, stale_ms)


async def renew(client: redis.asyncio.Redis, exchange_id: int, boundary_ms: int, by: str) -> bool:
    """A sign of life, more often than STALE_MS; False when the boundary is no longer this fetcher's."""
    return await _record(client, exchange_id, "renew", boundary_ms, by, 0)


async def finish(client: redis.asyncio.Redis, exchange_id: int, boundary_ms: int, by: str) -> bool:
    """Marks the boundary handled; False when it was taken over meanwhile (the other one will finish it)."""
    return await _record(client, exchange_id, "finish", boundary_ms, by, 0)


async def _record(
    client: redis.asyncio.Redis, exchange_id: int, verb: str, boundary_ms: int, by: str, stale_ms: int
) -> bool:
    reply = await cast(
        "Any",
        client.eval(
            lua("handle_boundary"),
            1,
            keys.boundary_done(exchange_id),
            verb,
            str(boundary_ms),
            by,
            str(stale_ms),
            str(RECORDS_KEPT),
        ),
    )
    return bool(reply)


async def run_lives(client: redis.asyncio.Redis, exchange_id: int, boundary_ms: int) -> None:
    """A run's sign of life, more often than STALE_MS, whether the fetch is its own or not."""
    await client.set(keys.boundary_run(exchange_id), boundary_ms, px=STALE_MS)


async def run_at_work(client: redis.asyncio.Redis, exchange_id: int) -> int | None:
    """The boundary (epoch ms) of the run that gave the last sign of life within STALE_MS, if any."""
    text = await cast("Any", client.get(keys.boundary_run(exchange_id)))
    return int(text) if text else None


async def handled(client: redis.asyncio.Redis, exchange_id: int, boundary_ms: int) -> BoundaryRecord | None:
    """Who has begun or finished this boundary, None while nobody has."""
    text = await cast("Any", client.hget(keys.boundary_done(exchange_id), str(boundary_ms)))
    return _parse_record(text) if text else None


async def last_handled(client: redis.asyncio.Redis, exchange_id: int) -> int | None:
    """The newest finished boundary (epoch ms): what fell due later is the backlog."""
    return _newest_finished(await cast("Any", client.hgetall(keys.boundary_done(exchange_id))))


def last_handled_sync(client: redis.Redis, exchange_id: int) -> int | None:
    """`last_handled` for a sync caller."""
    return _newest_finished(cast("Any", client.hgetall(keys.boundary_done(exchange_id))))


def _newest_finished(records: Mapping[str, str]) -> int | None:
    finished = [int(at) for at, text in records.items() if _parse_record(text).state == "finished"]
    return max(finished, default=None)


async def last_raised(client: redis.asyncio.Redis, exchange_id: int) -> int | None:
    """The newest boundary raised (epoch ms)."""
    text = await cast("Any", client.get(keys.boundary_guard(exchange_id)))
    return int(text) if text else None


def _parse_record(text: str) -> BoundaryRecord:
    fields = json.loads(text)
    return BoundaryRecord(fields["state"], fields["by"], int(fields["at_ms"]))
