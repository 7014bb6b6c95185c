"""What a running platform takes and how late it is, again and again, as rows of a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.metrics import LatencyHistogram, LatencySnapshot
from tests.e2e.under_fire import Fire

HOUR_MS = 3_600_000
LATENCIES = ("close_lag", "close_to_alert")
HEADS = ("market_hours", "kind", "name", "value")


@dataclass(frozen=True, slots=True)
class Sample:
    """`kind`: memory and size in MB, latency in ms of real time; `hours` of market time since the start."""

    hours: float
    kind: str
    name: str
    value: float


@dataclass
class Sampler:
    """`speed`: a lag is measured on the exchange's clock, which runs so many times faster."""

    fire: Fire
    speed: float
    began_ms: int
    samples: list[Sample] = field(default_factory=list)
    _known: dict[str, LatencySnapshot] = field(default_factory=dict)
    _hour: int = 0

    def begin(self) -> None:
        self._known = self._latencies()
        self._processes = {one["name"]: one["pid"] for one in self.fire.running.status()["processes"]}

    def hours(self) -> float:
        return (self.fire.market_ms() - self.began_ms) / HOUR_MS

    def sample(self) -> None:
        """Memory and sizes now; percentiles too whenever an hour of market time is over."""
        hours = self.hours()
        for name, value in self._memory().items():
            self.samples.append(Sample(hours, "memory", name, value))
        for name, value in self._sizes().items():
            self.samples.append(Sample(hours, "size", name, value))
        if int(hours) > self._hour:
            self._hour = int(hours)
            self._note_latencies(hours)

    def _memory(self) -> dict[str, float]:
        ingest = {}
        for exchange in self.fire.exchanges:
            claim = self.fire.claim(exchange)
            if claim is not None:
                ingest[f"ingest {exchange}"] = claim.status.pid
        own = set(ingest.values())
        found = {name: _tree_mb(pid, own) for name, pid in self._processes.items() if pid}
        for name, pid in ingest.items():
            with suppress(psutil.Error):
                found[name] = psutil.Process(pid).memory_info().rss / 1e6
        return found

    def _sizes(self) -> dict[str, float]:
        rows = self.fire.place.query("SELECT datname, pg_database_size(oid) FROM pg_database")
        sizes = {f"PostgreSQL {name}": size / 1e6 for name, size in rows if not name.startswith("template")}
        with self.fire.redis() as client:
            sizes["Valkey"] = client.info("memory")["used_memory"] / 1e6
        return sizes

    def _latencies(self) -> dict[str, LatencySnapshot]:
        with connect(self.fire.settings.redis_url) as client:
            return {name: LatencyHistogram(name).snapshot_sync(client) for name in LATENCIES}

    def _note_latencies(self, hours: float) -> None:
        now = self._latencies()
        for name, snapshot in now.items():
            summary = (snapshot - self._known[name]).summary()
            scale = self.speed if name == "close_lag" else 1.0
            for share in ("p50", "p99", "max"):
                value = getattr(summary, share) / scale
                if summary.n:
                    self.samples.append(Sample(hours, "latency", f"{name} {share}", value))
        self._known = now

    def write(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(HEADS)
            for one in self.samples:
                writer.writerow((f"{one.hours:.3f}", one.kind, one.name, f"{one.value:.2f}"))


def _tree_mb(pid: int, without: set[int]) -> float:
    """Proportional memory of a process and its children: pages they share count once."""
    total = 0
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):
                if process.pid not in without:
                    total += process.memory_full_info().pss
    return total / 1e6


def series(samples: list[Sample], kind: str) -> Mapping[str, tuple[list[float], list[float]]]:
    """Hours and values by name."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for one in samples:
        if one.kind == kind:
            hours, values = found.setdefault(one.name, ([], []))
            hours.append(one.hours)
            values.append(one.value)
    return found
