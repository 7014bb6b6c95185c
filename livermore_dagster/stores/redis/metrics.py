"""Counters, latency histograms and incidents: what `status`, the live screen and `--json` show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import redis
import redis.asyncio

from livermore_dagster.incidents import IncidentName, Severity, kind_of
from livermore_dagster.stores.redis import keys

__all__ = [
    "Incident",
    "LatencyHistogram",
    "LatencySnapshot",
    "LatencySummary",
    "count",
    "incident",
    "incident_sync",
    "read_counters",
    "read_counters_sync",
    "read_incident_counts_sync",
    "read_incidents",
    "read_incidents_newest_sync",
    "read_incidents_sync",
]

INCIDENTS_KEPT = 5_000
LOWEST_MS = 0.01
GROWTH = 1.02
_LOG_GROWTH = math.log(GROWTH)

AnyRedis = Any
"""A sync or async client or a pipeline: the commands used here are the same, only awaiting differs."""


def count(client: AnyRedis, exchange_id: int, name: str, by: int = 1) -> Any:
    """HINCRBY on the exchange's counters. Await it on an async client; on a pipeline it queues."""
    return client.hincrby(keys.counters(exchange_id), name, by)


async def read_counters(client: redis.asyncio.Redis, exchange_id: int) -> dict[str, int]:
    """All counters of an exchange since its Redis began; a counter never touched is absent."""
    found = await cast("Any", client.hgetall(keys.counters(exchange_id)))
    return {name: int(value) for name, value in found.items()}


def read_counters_sync(client: redis.Redis, exchange_id: int) -> dict[str, int]:
    """`read_counters` for supervisor and commands."""
    found = cast("dict[str, str]", client.hgetall(keys.counters(exchange_id)))
    return {name: int(value) for name, value in found.items()}


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Percentiles in ms, to within 1 %; 0 where nothing was observed."""

    p50: float
    p99: float
    max: float
    n: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LatencySnapshot:
    """Observations per bucket at one time; the difference of two is what happened between them."""

    buckets: Mapping[int, int] = field(default_factory=dict)

    def __sub__(self, earlier: LatencySnapshot) -> LatencySnapshot:
        rest = {bucket: n - earlier.buckets.get(bucket, 0) for bucket, n in self.buckets.items()}
        return LatencySnapshot({bucket: n for bucket, n in rest.items() if n > 0})

    def __add__(self, other: LatencySnapshot) -> LatencySnapshot:
        total = dict(self.buckets)
        for bucket, n in other.buckets.items():
            total[bucket] = total.get(bucket, 0) + n
        return LatencySnapshot(total)

    def summary(self) -> LatencySummary:
        n = sum(self.buckets.values())
        if n == 0:
            return LatencySummary(0.0, 0.0, 0.0, 0)
        ordered = sorted(self.buckets.items())
        return LatencySummary(
            _percentile(ordered, n, 0.50), _percentile(ordered, n, 0.99), _value(ordered[-1][0]), n
        )

    def count_to(self, ms: float) -> int:
        """Observations of at most `ms`, to within the 2 % of a bucket."""
        last = math.floor(math.log(ms / LOWEST_MS) / _LOG_GROWTH)
        return sum(n for bucket, n in self.buckets.items() if bucket <= last)

    def total_ms(self) -> float:
        """Sum of all observations, each taken for the middle of its bucket."""
        return sum(_value(bucket) * n for bucket, n in self.buckets.items())


def _bucket(ms: float) -> int:
    return 0 if ms <= LOWEST_MS else math.ceil(math.log(ms / LOWEST_MS) / _LOG_GROWTH)


def _value(bucket: int) -> float:
    """The middle of a bucket, in ms."""
    return 0.0 if bucket == 0 else round(LOWEST_MS * math.exp((bucket - 0.5) * _LOG_GROWTH), 3)


def _percentile(ordered: list[tuple[int, int]], n: int, share: float) -> float:
    rank = math.ceil(share * n)
    seen = 0
    for bucket, held in ordered:
        seen += held
        if seen >= rank:
            return _value(bucket)
    return _value(ordered[-1][0])


class LatencyHistogram:
    """A latency all processes observe into: log buckets 2 % wide in one Redis hash."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = keys.latency(name)

    def observe(self, client: AnyRedis, ms: float, times: int = 1) -> Any:
        """One HINCRBY. Await it on an async client; on a pipeline it queues. Below 0 counts as 0."""
        return client.hincrby(self._key, str(_bucket(ms)), times)

    async def snapshot(self, client: redis.asyncio.Redis) -> LatencySnapshot:
        return _snapshot(await cast("Any", client.hgetall(self._key)))

    def snapshot_sync(self, client: redis.Redis) -> LatencySnapshot:
        return _snapshot(cast("dict[str, str]", client.hgetall(self._key)))

    async def read(self, client: redis.asyncio.Redis) -> LatencySummary:
        """Over everything observed since the Redis began."""
        return (await self.snapshot(client)).summary()


def _snapshot(found: Mapping[str, str]) -> LatencySnapshot:
    return LatencySnapshot({int(bucket): int(n) for bucket, n in found.items()})


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong and was survived. `at_ms`: wall clock of the Redis server."""

    entry_id: str
    name: str
    exchange_id: int | None
    text: str
    severity: Severity
    facts: Mapping[str, str]

    @property
    def at_ms(self) -> int:
        return int(self.entry_id.split("-")[0])


def _append(
    pipe: AnyRedis, name: IncidentName, exchange_id: int | None, text: str, facts: Mapping[str, object]
) -> None:
    """Queues the entry, and one more of its name in the counts."""
    known = "" if exchange_id is None else str(exchange_id)
    fields = {f"fact:{fact}": str(value) for fact, value in facts.items()}
    entry = {
        "name": name.value,
        "exchange_id": known,
        "text": text,
        "severity": kind_of(name).severity.value,
        **fields,
    }
    pipe.xadd(keys.INCIDENTS, entry, maxlen=INCIDENTS_KEPT, approximate=True)
    pipe.hincrby(keys.INCIDENT_COUNTS, f"{known}:{name.value}", 1)


async def incident(
    client: redis.asyncio.Redis,
    name: IncidentName,
    exchange_id: int | None,
    text: str,
    **facts: object,
) -> str:
    """Appends an incident, as grave as the catalogue says, and returns its id.

    Never put a secret into `text` or `facts`.
    """
    pipe = client.pipeline(transaction=True)
    _append(pipe, name, exchange_id, text, facts)
    return cast("str", (await pipe.execute())[0])


def incident_sync(
    client: redis.Redis,
    name: IncidentName,
    exchange_id: int | None,
    text: str,
    **facts: object,
) -> str:
    """`incident` for sensors, threads and the supervisor."""
    pipe = client.pipeline(transaction=True)
    _append(pipe, name, exchange_id, text, facts)
    return cast("str", pipe.execute()[0])


async def read_incidents(
    client: redis.asyncio.Redis, after_id: str = "0", count: int = 1_000
) -> list[Incident]:
    """Incidents after `after_id`, oldest first."""
    entries = cast("Any", await client.xrange(keys.INCIDENTS, min=f"({after_id}", count=count))
    return [_incident(entry_id, fields) for entry_id, fields in entries]


def read_incidents_sync(client: redis.Redis, after_id: str = "0", count: int = 1_000) -> list[Incident]:
    """`read_incidents` for supervisor and commands."""
    entries = cast("Any", client.xrange(keys.INCIDENTS, min=f"({after_id}", count=count))
    return [_incident(entry_id, fields) for entry_id, fields in entries]


def read_incidents_newest_sync(client: redis.Redis, count: int) -> list[Incident]:
    """The newest `count` incidents, newest first."""
    entries = cast("Any", client.xrevrange(keys.INCIDENTS, count=count))
    return [_incident(entry_id, fields) for entry_id, fields in entries]


def _incident(entry_id: str, fields: Mapping[str, str]) -> Incident:
    return Incident(
        entry_id=entry_id,
        name=fields["name"],
        exchange_id=int(fields["exchange_id"]) if fields["exchange_id"] else None,
        text=fields["text"],
        severity=Severity(fields["severity"]),
        facts={key[5:]: value for key, value in fields.items() if key.startswith("fact:")},
    )


def read_incident_counts_sync(client: redis.Redis) -> dict[tuple[int | None, str], int]:
    """How often each was told since the Redis began, by exchange id (None: of no exchange) and name."""
    found = cast("dict[str, str]", client.hgetall(keys.INCIDENT_COUNTS))
    counts: dict[tuple[int | None, str], int] = {}
    for place, times in found.items():
        exchange_id, _, name = place.partition(":")
        counts[int(exchange_id) if exchange_id else None, name] = int(times)
    return counts
