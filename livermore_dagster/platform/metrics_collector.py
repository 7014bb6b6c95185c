"""Reads the platform's figures when Prometheus asks, so that one port speaks for all processes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import redis
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from livermore_dagster.errors import PlatformError
from livermore_dagster.incidents import CATALOGUE, IncidentName
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.metrics_catalogue import BUCKETS_S, COUNTERS, LATENCIES, METRICS
from livermore_dagster.platform.vitals import ExchangeVitals, Health, read_vitals
from livermore_dagster.platform.watch import MarketTime
from livermore_dagster.stores.postgres.connect import conninfo
from livermore_dagster.stores.postgres.statements import sql
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.metrics import LatencyHistogram, read_incident_counts_sync

__all__ = ["PlatformCollector", "ProcessFacts"]

STATES: Final = ("idle", "starting", "warming", "active", "stopping", "stopped", "offline")
FAMILIES: Final[dict[str, Any]] = {
    "gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "info": InfoMetricFamily,
}  # fmt: skip
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """A child of `up`."""

    name: str
    up: bool
    restarts: int
    memory_bytes: int


class PlatformCollector(Collector):
    """A store that is away is one gauge at 0, never an error: the other figures still come."""

    def __init__(
        self,
        settings: Settings,
        rows: Callable[[], Sequence[ExchangeRow]],
        processes: Callable[[], Sequence[ProcessFacts]],
        speed: float = 1.0,
    ) -> None:
        self._settings = settings
        self._rows = rows
        self._processes = processes
        self._speed = speed
        self._market_time = MarketTime.of(settings)

    def describe(self) -> Iterator[Metric]:
        """Nothing: a registry then does not scrape at registration."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        found = _Families()
        found.info(version=importlib.metadata.version("livermore"), provenance=self._settings.provenance)
        found.set("market_time_seconds", self._market_time.now_ms() / 1000)
        for one in self._processes():
            found.set("process_up", int(one.up), one.name)
            found.set("process_restarts", one.restarts, one.name)
            found.set("process_memory_bytes", one.memory_bytes, one.name)
        found.set("store_up", int(self._from_redis(found)), "redis")
        found.set("store_up", int(self._from_postgres(found)), "postgresql")
        return found.filled()

    def _from_redis(self, found: _Families) -> bool:
        try:
            with connect(self._settings.redis_url) as client:
                rows = self._rows()
                for vitals in read_vitals(client, rows, self._market_time.now_ms()):
                    self._exchange(found, vitals)
                self._incidents(found, rows, read_incident_counts_sync(client))
                for name in LATENCIES:
                    found.histogram(name, LatencyHistogram(name), client)
                found.set("notifier_up", int(bool(client.exists(keys.NOTIFIER))))
        except (redis.RedisError, PlatformError, OSError):
            return False
        return True

    def _incidents(
        self, found: _Families, rows: Sequence[ExchangeRow], told: Mapping[tuple[int | None, str], int]
    ) -> None:
        """Also those never told: `increase` of a series that begins at 1 is nothing."""
        names = {row.id: row.name for row in rows}
        active = (row.name for row in rows if row.active)
        counts = {(known, name.value): 0 for known in ("", *active) for name in CATALOGUE}
        for (exchange_id, name), times in told.items():
            place = names.get(exchange_id or 0, ""), name
            counts[place] = counts.get(place, 0) + times
        for (known, name), times in counts.items():
            found.set("incidents", times, known, name, _severity(name))

    def _exchange(self, found: _Families, one: ExchangeVitals) -> None:
        health, _ = one.judge(self._speed)
        for state in STATES:
            found.set("exchange_state", int(one.state == state), one.name, state)
        found.set("exchange_healthy", int(health not in (Health.DEGRADED, Health.DOWN)), one.name)
        found.set("exchange_desired_running", int(one.desired), one.name)
        found.set("exchange_symbols", one.symbols, one.name)
        found.set("exchange_best_effort_symbols", one.best_effort, one.name)
        found.set("exchange_connections", one.connections, one.name)
        found.set("exchange_connections_up", one.connections_up, one.name)
        if one.heartbeat_age_s is not None:
            found.set("exchange_heartbeat_age_seconds", one.heartbeat_age_s, one.name)
        if one.settled_lag_s is not None:
            found.set("exchange_settled_lag_seconds", one.settled_lag_s, one.name)
        if one.clock_ahead_ms is not None:
            found.set("exchange_clock_ahead_seconds", one.clock_ahead_ms / 1000, one.name)
        for group, waiting in one.backlog.items():
            found.set("closes_backlog_entries", waiting, one.name, group)
        for group, seconds in one.standing_s.items():
            found.set("closes_standing_seconds", seconds, one.name, group)
        for name in COUNTERS:
            found.set(name, one.counters.get(name, 0), one.name)
        for name, value in one.counters.items():
            kind, _, part = name.partition(":")
            if kind == "rest_requests" and part:
                found.set("rest_requests", value, one.name, part)
            elif kind == "candles" and part:
                found.set("candles_closed", value, one.name, part)
            elif name not in COUNTERS:
                found.set("other_events", value, one.name, name)

    def _from_postgres(self, found: _Families) -> bool:
        since = {"since_ms": time.time_ns() // 1_000_000 - DAY_MS}
        pending: dict[str, int] = {}
        day: dict[tuple[str, str], int] = {}
        try:
            address = conninfo(self._settings.database_url, self._settings.database_ca)
            with psycopg.connect(address, connect_timeout=2) as connection:
                rows = connection.execute(sql("read_delivery_counts"), since).fetchall()
        except psycopg.Error:
            return False
        for _, channel, waiting, _, sent, failed, not_told, *_ in rows:
            # Two users may name their channels alike.
            pending[channel] = pending.get(channel, 0) + waiting
            for outcome, times in (("sent", sent), ("failed", failed), ("not_told", not_told)):
                day[channel, outcome] = day.get((channel, outcome), 0) + times
        for channel, waiting in pending.items():
            found.set("notifications_pending", waiting, channel)
        for (channel, outcome), times in day.items():
            found.set("notifications_day", times, channel, outcome)
        return True


class _Families:
    """One metric family per name of the catalogue, made when it is first needed."""

    def __init__(self) -> None:
        self._made: dict[str, Metric] = {}

    def filled(self) -> Iterator[Metric]:
        return iter(self._made.values())

    def set(self, name: str, value: float, *labels: str) -> None:
        self._family(name).add_metric(list(labels), value)

    def info(self, **facts: str) -> None:
        self._family("build", labels=()).add_metric([], facts)

    def histogram(self, name: str, latency: LatencyHistogram, client: redis.Redis) -> None:
        seen = latency.snapshot_sync(client)
        total = sum(seen.buckets.values())
        buckets = [(str(bound), float(seen.count_to(bound * 1000))) for bound in BUCKETS_S]
        metric = METRICS[f"{name}_seconds"]
        family = HistogramMetricFamily(metric.name, metric.help)
        family.add_metric([], [*buckets, ("+Inf", float(total))], sum_value=seen.total_ms() / 1000)
        self._made[name] = family

    def _family(self, name: str, labels: Sequence[str] | None = None) -> Any:
        if name not in self._made:
            metric = METRICS[name]
            names = metric.labels if labels is None else labels
            self._made[name] = FAMILIES[metric.kind](metric.name, metric.help, labels=list(names))
        return self._made[name]


def _severity(name: str) -> str:
    with contextlib.suppress(ValueError):
        return CATALOGUE[IncidentName(name)].severity.value
    return "warning"
