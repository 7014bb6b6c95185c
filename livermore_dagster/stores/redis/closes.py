"""The closes stream of an exchange: the write-ahead log that signals and store read.

One consumer of constant name per group takes its own unacknowledged entries first, from id 0 and in stream
order, and acknowledges after its effect is durable. Entries leave only behind what both groups have
acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import redis
import redis.asyncio
from redis.exceptions import ResponseError

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.member import decode
from livermore_dagster.stores.redis.scripts import lua

__all__ = [
    "HARD_CAP",
    "Backlog",
    "Close",
    "ClosesReader",
    "backlog",
    "backlog_sync",
    "consumed",
    "newest_entry",
    "read_closes",
    "standing_sync",
    "trim_closes",
]

HARD_CAP = 200_000
"""Entries of one exchange at which ingest pauses (about 40 MB); nothing is ever dropped."""
GROUPS = (keys.CLOSES_GROUP_SIGNALS, keys.CLOSES_GROUP_STORE)


class Close(msgspec.Struct, frozen=True, gc=False):
    """A candle that became final, or a final candle that got other values (`revision`)."""

    entry_id: str
    symbol: str
    timeframe: Timeframe
    candle: Candle
    rank: Rank
    stamp_ms: int
    origin: Origin
    proven_ms: int
    """Exchange clock at the proof."""
    wall_ms: int
    """Wall clock of the writer when it was appended."""
    revision: bool
    trades: int

    @property
    def end_ms(self) -> int:
        return self.candle.open_ms + self.timeframe.ms

    def stamped(self) -> StampedCandle:
        """As it was written to the cache."""
        return StampedCandle(
            symbol=self.symbol,
            timeframe=self.timeframe,
            candle=self.candle,
            rank=self.rank,
            stamp_ms=self.stamp_ms,
            origin=self.origin,
            trades=self.trades,
            proven_ms=self.proven_ms,
        )


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far the consumers of an exchange's closes are behind, in entries."""

    entries: int
    unacknowledged: dict[str, int]
    """Per group: delivered or not, but not acknowledged. A missing group counts the whole stream."""
    cap: int = HARD_CAP

    @property
    def over_cap(self) -> bool:
        """Ingest must pause until consumers have caught up."""
        return max(self.unacknowledged.values(), default=0) >= self.cap


class ClosesReader:
    """One consumer of one group. Never two at a time: order would be lost.

    After any error of Redis begin with `pending` again: a reply that was lost had entries in it.
    """

    def __init__(
        self, client: redis.asyncio.Redis, exchange_id: int, group: str, consumer: str | None = None
    ) -> None:
        self._client = client
        self._key = keys.closes(exchange_id)
        self._group = group
        self._consumer = consumer or group

    async def ensure_group(self) -> None:
        """Creates the group at the stream's beginning unless it is there."""
        try:
            await self._client.xgroup_create(self._key, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def pending(self, count: int, after_id: str = "0") -> list[Close]:
        """The oldest of its own unacknowledged entries after `after_id`, in stream order; or none."""
        while True:
            streams: dict[Any, Any] = {self._key: after_id}
            reply = await self._client.xreadgroup(self._group, self._consumer, streams, count=count)
            found = _closes(reply)
            # Someone emptied the stream by hand: what is gone cannot be handled and must not block the rest.
            gone = [entry_id for entry_id, fields in _entries(reply) if not fields]
            await self.ack(gone)
            if found or not gone:
                return found

    async def fresh(self, count: int, block_ms: int) -> list[Close]:
        """Entries nobody of the group has had; waits up to `block_ms` (0: not at all) for the first."""
        reply = await self._client.xreadgroup(
            self._group, self._consumer, {self._key: ">"}, count=count, block=block_ms or None
        )
        return _closes(reply)

    async def ack(self, ids: Iterable[str]) -> None:
        """Call after the effect of these entries is durable."""
        wanted = list(ids)
        if wanted:
            await self._client.xack(self._key, self._group, *wanted)


def _entries(reply: Any) -> list[tuple[str, dict[str, str]]]:
    return reply[0][1] if reply else []


def _closes(reply: Any) -> list[Close]:
    return [_close(entry_id, fields) for entry_id, fields in _entries(reply) if fields]


def _close(entry_id: str, fields: dict[str, str]) -> Close:
    proven_ms = int(fields["p"])
    stamped = decode(fields["m"], fields["s"], Timeframe(fields["t"]), proven_ms)
    return Close(
        entry_id=entry_id,
        symbol=stamped.symbol,
        timeframe=stamped.timeframe,
        candle=stamped.candle,
        rank=stamped.rank,
        stamp_ms=stamped.stamp_ms,
        origin=stamped.origin,
        proven_ms=proven_ms,
        wall_ms=int(fields["w"]),
        revision=fields["r"] == "1",
        trades=stamped.trades,
    )


async def read_closes(
    client: redis.asyncio.Redis, exchange_id: int, after_id: str = "0", count: int = 1_000
) -> list[Close]:
    """Entries after `after_id` without any group: for eyes and tests."""
    entries = cast("Any", await client.xrange(keys.closes(exchange_id), min=f"({after_id}", count=count))
    return [_close(entry_id, fields) for entry_id, fields in entries]


async def consumed(client: redis.asyncio.Redis, exchange_id: int, entry_id: str) -> bool:
    """Whether both groups have acknowledged everything up to `entry_id`."""
    key = keys.closes(exchange_id)
    for group in GROUPS:
        facts = cast("Any", await client.xpending(key, group))
        if facts["pending"] and _parts(facts["min"]) <= _parts(entry_id):
            return False
    groups = {one["name"]: one["last-delivered-id"] for one in await client.xinfo_groups(key)}
    return all(_parts(groups[group]) >= _parts(entry_id) for group in GROUPS)


async def newest_entry(client: redis.asyncio.Redis, exchange_id: int) -> str:
    """Id of the newest close there ever was; '0-0' before the first."""
    if not await client.exists(keys.closes(exchange_id)):
        return "0-0"
    return str((await client.xinfo_stream(keys.closes(exchange_id)))["last-generated-id"])


def _parts(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)


async def trim_closes(client: redis.asyncio.Redis, exchange_id: int) -> int:
    """Removes what both groups have acknowledged; how many entries went. Nothing while a group is missing."""
    reply = await cast("Any", client.eval(lua("trim_closes"), 1, keys.closes(exchange_id), *GROUPS))
    return int(reply)


async def backlog(client: redis.asyncio.Redis, exchange_id: int, cap: int = HARD_CAP) -> Backlog:
    """Judged from the groups, not the stream's length: acknowledged entries only await trimming."""
    key = keys.closes(exchange_id)
    entries = await client.xlen(key)
    groups = await client.xinfo_groups(key) if await client.exists(key) else []
    return _judged(entries, groups, cap)


def backlog_sync(client: redis.Redis, exchange_id: int, cap: int = HARD_CAP) -> Backlog:
    """`backlog` for supervisor and commands."""
    key = keys.closes(exchange_id)
    entries = client.xlen(key)
    groups = cast("list[dict[str, Any]]", client.xinfo_groups(key) if client.exists(key) else [])
    return _judged(entries, groups, cap)


def standing_sync(client: redis.Redis, exchange_id: int, now_ms: int) -> dict[str, int]:
    """Per group: how long (ms) a close has waited while none was taken; 0 where none waits.

    Not the oldest close's age alone: a warm-up brings more at once than is consumed in a minute. `now_ms`:
    clock of the Redis server, which names the entries.
    """
    key = keys.closes(exchange_id)
    groups = cast("list[dict[str, Any]]", client.xinfo_groups(key) if client.exists(key) else [])
    delivered = {group["name"]: group["last-delivered-id"] for group in groups}
    return {group: _standing(client, key, group, delivered.get(group), now_ms) for group in GROUPS}


def _standing(client: redis.Redis, key: str, group: str, delivered: str | None, now_ms: int) -> int:
    oldest, taken = None, []
    if delivered is not None:
        oldest = cast("Any", client.xpending(key, group))["min"]
        taken = _since_taken(client.xinfo_consumers(key, group))
    if oldest is None:
        rest = cast("Any", client.xrange(key, min=f"({delivered}" if delivered else "-", count=1))
        oldest = rest[0][0] if rest else None
    return 0 if oldest is None else max(0, min([now_ms - _parts(oldest)[0], *taken]))


def _since_taken(consumers: Iterable[Mapping[str, Any]]) -> list[int]:
    """How long ago (ms) each consumer of a group last got something; without those that never did.

    Reading its own pending entries again, as one that fails does, does not count in `inactive`. It does in
    `idle`, which is all there is before Redis 7.2.
    """
    found = (int(one.get("inactive", one["idle"])) for one in consumers)
    return [since_ms for since_ms in found if since_ms >= 0]


def _judged(entries: int, groups: Iterable[Mapping[str, Any]], cap: int) -> Backlog:
    unacknowledged = dict.fromkeys(GROUPS, entries)
    for group in groups:
        if group["name"] in unacknowledged:
            lag = group.get("lag")
            waiting = entries if lag is None else int(lag)
            unacknowledged[group["name"]] = waiting + int(group["pending"])
    return Backlog(entries, unacknowledged, cap)
