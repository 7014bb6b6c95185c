"""What one `livermore up --for` did: counters, runs, alerts and latencies as differences over that run."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from livermore_dagster.market.boundary import BOUNDARY_MS, boundary_of
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.dagster_yaml import dagster_database_url
from livermore_dagster.platform.watch import MarketTime
from livermore_dagster.stores.postgres.connect import conninfo
from livermore_dagster.stores.redis import boundaries, closes, keys
from livermore_dagster.stores.redis.client import connect, connect_async
from livermore_dagster.stores.redis.metrics import (
    LatencyHistogram,
    LatencySnapshot,
    read_counters_sync,
    read_incidents_sync,
)

__all__ = ["Measure", "Window", "drain"]

LATENCIES = ("close_lag", "close_to_alert", "boundary_to_run")
DRAIN_S = 25.0
PREFIXES = ("candles", "rest_requests")
PLAIN = ("closes", "boundaries", "http_429", "reconnects", "unproven", "revised")


@dataclass
class Window:
    """Market time, epoch ms, over which every final candle is promised to be stored."""

    from_ms: int | None = None
    to_ms: int | None = None

    def begin(self, market_ms: int) -> None:
        """At the next full minute after the last exchange became active."""
        self.from_ms = -(-market_ms // Timeframe.M1.ms) * Timeframe.M1.ms

    def as_dict(self) -> dict[str, str | None]:
        return {"from": _iso(self.from_ms), "to": _iso(self.to_ms)}


@dataclass(frozen=True)
class _Start:
    counters: dict[int, dict[str, int]]
    latencies: dict[str, LatencySnapshot]
    incident: str


@dataclass
class Measure:
    """Snapshot at the start, difference at the end. Both while Redis and PostgreSQL are up."""

    settings: Settings
    rows: Sequence[ExchangeRow]
    since: float
    """Wall clock, seconds since the epoch, at which this start began."""
    window: Window = field(default_factory=Window)
    _start: _Start | None = None

    def begin(self) -> None:
        client = connect(self.settings.redis_url)
        try:
            newest = client.xrevrange(keys.INCIDENTS, count=1)
            self._start = _Start(
                counters={row.id: read_counters_sync(client, row.id) for row in self.rows},
                latencies={name: LatencyHistogram(name).snapshot_sync(client) for name in LATENCIES},
                incident=str(newest[0][0]) if newest else "0",
            )
        finally:
            client.close()

    def result(self, errors: Sequence[str]) -> dict[str, Any]:
        """The one object `--json` prints."""
        if self._start is None:
            return {"exchanges": {}, "window": self.window.as_dict(), "errors": list(errors)}
        start = self._start
        client = connect(self.settings.redis_url)
        try:
            counters = {
                row.id: _difference(read_counters_sync(client, row.id), start.counters[row.id])
                for row in self.rows
            }
            latencies = {
                name: (LatencyHistogram(name).snapshot_sync(client) - start.latencies[name]).summary()
                for name in LATENCIES
            }
            incidents = read_incidents_sync(client, start.incident)
            symbols = {row.id: client.get(keys.monitored(row.id)) for row in self.rows}
        finally:
            client.close()
        severe = [f"{found.name}: {found.text}" for found in incidents if found.severity == "error"]
        return {
            "exchanges": {
                row.name: _exchange(counters[row.id], _names(symbols[row.id])) for row in self.rows
            },
            "runs": self._runs(self.since),
            "alerts": {
                name: sum(found.get(f"alerts_{name}", 0) for found in counters.values())
                for name in ("stored", "published", "sent", "failed")
            },
            "latency_ms": {name: summary.as_dict() for name, summary in latencies.items()},
            "window": self.window.as_dict(),
            "incidents": _tally([found.name for found in incidents]),
            "errors": [*errors, *severe],
        }

    def _runs(self, since: float) -> dict[str, int]:
        """Counts by Dagster's own table: runs created since, how many succeeded and failed so far."""
        address = conninfo(dagster_database_url(self.settings.database_url), self.settings.database_ca)
        with psycopg.connect(address, connect_timeout=5) as connection:
            rows = connection.execute(
                "SELECT status, count(*) FROM runs"
                " WHERE create_timestamp >= to_timestamp(%s) AT TIME ZONE 'UTC' GROUP BY status",
                [since],
            ).fetchall()
        counts = {str(status): int(number) for status, number in rows}
        return {
            "started": sum(number for status, number in counts.items() if status != "NOT_STARTED"),
            "succeeded": counts.get("SUCCESS", 0),
            "failed": counts.get("FAILURE", 0),
        }


def drain(settings: Settings, rows: Sequence[ExchangeRow], window: Window, tick: Callable[[], None]) -> None:
    """Wait until everything up to now is settled, stored and judged; set where the window honestly ends.

    Waits at most 25 real seconds for market time to pass what was the present when the time was up.
    """
    market_ms = MarketTime.of(settings).now_ms()
    goal = Timeframe.M5.open_of(market_ms)
    deadline = time.monotonic() + DRAIN_S
    while True:
        reached = asyncio.run(_reached(settings, rows, goal))
        if reached >= goal or time.monotonic() > deadline:
            break
        tick()
        time.sleep(0.25)
    window.to_ms = Timeframe.M5.open_of(min(reached, goal))


async def _reached(settings: Settings, rows: Sequence[ExchangeRow], goal: int) -> int:
    """Market time up to which every exchange is settled, its closes consumed, its boundaries fetched."""
    client = connect_async(settings.redis_url)
    try:
        reached = goal
        for row in rows:
            settled = await client.get(keys.settled(row.id))
            reached = min(reached, int(settled) if settled else 0)
            reached = min(reached, await _fetched_until(client, row.id, goal))
            waiting = await closes.backlog(client, row.id)
            if any(waiting.unacknowledged.values()):
                # Not yet stored: what they are is settled, so only the wait goes on.
                reached = min(reached, goal - 1)
        return reached
    finally:
        await client.aclose()


async def _fetched_until(client: Any, exchange_id: int, goal: int) -> int:
    """Up to which market time every boundary has been fetched, `goal` at most.

    A boundary that passed while nothing ran has no record: the next one raised brings what was due there.
    """
    entries = await client.xrange(keys.boundaries(exchange_id), count=1)
    due = boundary_of(goal)
    if not entries or due < int(entries[0][1]["b"]):
        return goal  # warm-up fetched what closed before the first boundary
    handled = await boundaries.last_handled(client, exchange_id)
    if handled is None:
        return int(entries[0][1]["b"]) - 1
    return goal if handled >= due else handled + BOUNDARY_MS - 1


def _exchange(counters: dict[str, int], symbols: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {prefix: {} for prefix in PREFIXES}
    for name, number in sorted(counters.items()):
        prefix, _, rest = name.partition(":")
        if rest and prefix in found:
            found[prefix][rest] = number
    plain = {name: counters.get(name, 0) for name in PLAIN}
    others = {
        name: number
        for name, number in sorted(counters.items())
        if ":" not in name and name not in plain and not name.startswith("alerts_")
    }
    return {**found, **plain, "other": others, "symbols": symbols}


def _difference(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: number - before.get(name, 0) for name, number in now.items()}


def _names(text: Any) -> list[str]:
    return [str(name) for name in json.loads(text)] if text else []


def _tally(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


def _iso(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
