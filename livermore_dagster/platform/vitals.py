"""The figures by which a platform's health is judged, read from Redis: metrics, health, status."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

import redis

from livermore_dagster.control.registry import read_instance
from livermore_dagster.control.states import InstanceState
from livermore_dagster.control.status import InstanceStatus
from livermore_dagster.exchanges.budget import closed_for_ms_sync
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.closes import backlog_sync, standing_sync
from livermore_dagster.stores.redis.desired import read_desired_sync
from livermore_dagster.stores.redis.metrics import Incident, read_counters_sync, read_incidents_newest_sync

__all__ = ["HEARTBEAT_LATE_S", "ExchangeVitals", "Health", "read_vitals"]

HEARTBEAT_LATE_S: Final = 40.0
"""Beats come every 15 s, and a claim lives 45 s."""
SETTLED_LATE_S: Final = 180.0
"""Real seconds that settling may be behind the clock: REST proof of a silent symbol included."""
BACKLOG_LATE: Final = 20_000
"""Closes waiting for their consumers, a tenth of what makes ingest pause."""
STANDING_LATE_S: Final = 60.0
"""Real seconds that a close may wait while none is taken; each is otherwise stored within a second."""
PROGRESS_LATE_S: Final = 300.0
"""Real seconds that coming up or warming up may stand still. The longest wait for a request is a minute."""
STANDING_WORDS: Final[Mapping[str, str]] = {
    keys.CLOSES_GROUP_STORE: "stored",
    keys.CLOSES_GROUP_SIGNALS: "computed",
}
INCIDENTS_LOOKED_AT: Final = 200


class Health(StrEnum):
    OK = "ok"
    IDLE = "idle"
    """It shall not run, and does not."""
    STARTING = "starting"
    """It comes up, warms up, or repairs what a pause left out."""
    PAUSED = "paused"
    """A user paused it: its sockets are closed until he resumes it."""
    DEGRADED = "degraded"
    """It runs, and something of it is not as it should be."""
    DOWN = "down"
    """It shall run, and does not."""


@dataclass(frozen=True, slots=True)
class ExchangeVitals:
    """One exchange at one moment. Ages and lags in seconds; None where there is nothing to measure."""

    name: str
    exchange_id: int
    state: str
    desired: bool
    symbols: int = 0
    heartbeat_age_s: float | None = None
    settled_lag_s: float | None = None
    """Market seconds."""
    backlog: Mapping[str, int] = field(default_factory=dict)
    """Closes not yet acknowledged, by consumer group."""
    standing_s: Mapping[str, float] = field(default_factory=dict)
    """How long closes have waited while none was taken, by consumer group; 0 where none has to wait."""
    progress_age_s: float | None = None
    """Since its start, or the warm-up or repair that is under way, last got on."""
    budget_closed_s: float = 0.0
    """For how long the exchange still allows no request."""
    connections: int = 0
    connections_up: int = 0
    breaker_open: bool = False
    paused: bool = False
    """Reading pauses: a user wants it, a gap is repaired after that, or what has closed must be stored."""
    pause_wanted: bool = False
    """By a user."""
    best_effort: int = 0
    clock_ahead_ms: int | None = None
    last_error: str | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    incident: Incident | None = None

    def judge(self, speed: float = 1.0) -> tuple[Health, list[str]]:
        """Health, and what is wrong in plain words. `speed`: market time per real time."""
        if not self.desired and self.state in ("idle", "stopped", "offline"):
            return Health.IDLE, []
        if self.state in ("idle", "stopped", "offline"):
            return Health.DOWN, [
                f"shall run and is {self.state}" + (f": {self.last_error}" if self.last_error else "")
            ]
        wrong = self._wrong()
        if self.pause_wanted:
            return (Health.DEGRADED if wrong else Health.PAUSED), wrong
        if self.state != "active" or self.paused:
            return (Health.DEGRADED if wrong else Health.STARTING), wrong
        if self.settled_lag_s is not None and self.settled_lag_s > SETTLED_LATE_S * speed:
            wrong.append(f"candles are settled only up to {self.settled_lag_s:,.0f} s of market time ago")
        return (Health.DEGRADED if wrong else Health.OK), wrong

    def _wrong(self) -> list[str]:
        """What should not be in any state of an instance that lives."""
        wrong = []
        if self.heartbeat_age_s is not None and self.heartbeat_age_s > HEARTBEAT_LATE_S:
            wrong.append(f"no heartbeat for {self.heartbeat_age_s:.0f} s")
        if self.breaker_open and not self.pause_wanted:
            wrong.append("connecting fails again and again")
        for group, seconds in self.standing_s.items():
            if seconds > STANDING_LATE_S:
                waiting, done = self.backlog.get(group, 0), STANDING_WORDS[group]
                wrong.append(f"nothing was {done} for {seconds:,.0f} s; closes waiting: {waiting:,}")
        waiting = max(self.backlog.values(), default=0)
        if waiting > BACKLOG_LATE:
            wrong.append(f"{waiting:,} closes wait to be stored or computed")
            if self.paused and not self.pause_wanted:
                wrong.append("reading pauses until they are")
        if self.progress_age_s is not None and self.progress_age_s > PROGRESS_LATE_S:
            what = "its start" if self.state == "starting" else "its warm-up"
            wrong.append(f"{what} has stood still for {self.progress_age_s:,.0f} s")
            if self.budget_closed_s:
                wrong.append(f"the exchange allows no request for another {self.budget_closed_s:,.0f} s")
        return wrong

    def as_dict(self, speed: float = 1.0) -> dict[str, Any]:
        """What /health answers of it."""
        health, wrong = self.judge(speed)
        incident = self.incident
        return {
            "health": health.value,
            "wrong": wrong,
            "state": self.state,
            "desired": "running" if self.desired else "stopped",
            "symbols": self.symbols,
            "heartbeat_age_s": _rounded(self.heartbeat_age_s),
            "settled_lag_s": _rounded(self.settled_lag_s),
            "backlog": dict(self.backlog),
            "standing_s": {group: _rounded(seconds) for group, seconds in self.standing_s.items()},
            "progress_age_s": _rounded(self.progress_age_s),
            "budget_closed_s": _rounded(self.budget_closed_s),
            "connections": self.connections,
            "connections_up": self.connections_up,
            "clock_ahead_ms": self.clock_ahead_ms,
            "last_error": self.last_error,
            "last_incident": incident
            and {
                "name": incident.name,
                "severity": incident.severity,
                "text": incident.text,
                "at_ms": incident.at_ms,
            },
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def read_vitals(client: redis.Redis, rows: Sequence[ExchangeRow], market_ms: int) -> list[ExchangeVitals]:
    """Of every active row. Raises RedisError. `market_ms`: market time now."""
    newest: dict[int, Incident] = {}
    for one in read_incidents_newest_sync(client, INCIDENTS_LOOKED_AT):
        if one.exchange_id is not None:
            newest.setdefault(one.exchange_id, one)
    return [_read(client, row, market_ms, newest.get(row.id)) for row in rows if row.active]


def _read(client: redis.Redis, row: ExchangeRow, market_ms: int, incident: Incident | None) -> ExchangeVitals:
    instance = read_instance(client, row.id, row.name)
    desired = read_desired_sync(client, row.id)
    status = instance.claim.status if instance.live and instance.claim else instance.last_known
    monitored, settled = cast("list[str | None]", client.mget([keys.monitored(row.id), keys.settled(row.id)]))
    now_ms = time.time_ns() // 1_000_000
    seconds, microseconds = client.time()
    server_ms = seconds * 1000 + microseconds // 1000
    live = instance.live and status is not None
    active = instance.state == "active"
    pause_wanted = desired is not None and desired.paused
    return ExchangeVitals(
        name=row.name,
        exchange_id=row.id,
        state=instance.state,
        desired=desired is not None and desired.state == "running",
        symbols=len(json.loads(monitored)) if monitored and live and instance.state != "idle" else 0,
        heartbeat_age_s=max(0, now_ms - status.last_heartbeat) / 1000 if live and status else None,
        settled_lag_s=max(0, market_ms - int(settled)) / 1000 if settled and active else None,
        backlog=backlog_sync(client, row.id).unacknowledged,
        standing_s=_standing(client, status, server_ms, now_ms) if live and status else {},
        progress_age_s=_progress_age_s(client, status, now_ms)
        if live and status and not pause_wanted
        else None,
        budget_closed_s=closed_for_ms_sync(client, row.id, server_ms) / 1000,
        connections=status.connections if live and status else 0,
        connections_up=status.connections_up if live and status else 0,
        breaker_open=status.breaker_open if live and status else False,
        paused=status.paused if live and status else False,
        pause_wanted=pause_wanted,
        best_effort=status.best_effort if live and status else 0,
        clock_ahead_ms=status.clock_ahead_ms if live and status else None,
        last_error=(desired.reason if desired and desired.reason else None)
        or (status.last_error if status else None),
        counters=read_counters_sync(client, row.id),
        incident=incident,
    )


def _standing(client: redis.Redis, status: InstanceStatus, server_ms: int, now_ms: int) -> dict[str, float]:
    """What was left behind by an instance before this one has waited for longer than this one has been."""
    since_ms = max(0, now_ms - status.last_state_change)
    found = standing_sync(client, status.exchange_id, server_ms)
    if not status.flowing:
        # Until it is warm, a close behind an unknown bar waits for as long as the warm-up takes.
        found[keys.CLOSES_GROUP_SIGNALS] = 0
    return {group: min(standing_ms, since_ms) / 1000 for group, standing_ms in found.items()}


def _progress_age_s(client: redis.Redis, status: InstanceStatus, now_ms: int) -> float | None:
    """None unless it comes up, warms up, or repairs what a pause left out."""
    text = cast("str | None", client.get(keys.warmup_stats(status.exchange_id)))
    stats = json.loads(text) if text else {}
    newest = [status.last_state_change, int(stats.get("updated_ms", 0))]
    if status.connection_state is InstanceState.ACTIVE:
        if not status.paused or stats.get("phase") == "done":
            return None
        newest.append(status.connected_at or 0)
    elif status.connection_state not in (InstanceState.STARTING, InstanceState.WARMING):
        return None
    return max(0, now_ms - max(newest)) / 1000
