"""What a running platform's exchanges are doing, read from its Redis and PostgreSQL once a second."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import psycopg
import redis

from livermore_dagster.control.registry import read_instance
from livermore_dagster.control.standbys import StandbyFacts, read_standbys
from livermore_dagster.errors import PlatformError
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.postgres.connect import conninfo
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.desired import read_desired_sync
from livermore_dagster.stores.redis.metrics import Incident, read_counters_sync, read_incidents_sync

__all__ = ["AlertLine", "ExchangeView", "MarketTime", "Watch"]

RATE_WINDOW_S = 60.0


@dataclass(frozen=True)
class AlertLine:
    """One stored alert, for eyes."""

    exchange: str
    symbol: str
    timeframe: str
    label: str
    macdv: float
    candle_end_ms: int
    withdrawn: bool


@dataclass(frozen=True)
class ExchangeView:
    """One exchange at one moment. Times are epoch ms."""

    row: ExchangeRow
    state: str
    desired: str
    symbols: tuple[str, ...] = ()
    warmup_percent: float | None = None
    warmup_phase: str = ""
    warmup_eta_s: float | None = None
    closes_per_minute: float = 0.0
    settled_ms: int | None = None
    counters: dict[str, int] = field(default_factory=dict)
    instance: dict[str, object] | None = None
    last_error: str | None = None
    given_up: str = ""
    """Why it is idle though nobody wanted that: what was asked for cannot be."""
    standbys: tuple[StandbyFacts, ...] = ()
    """Instances that wait for it, alive ones; the one that waits longest first."""
    paused: bool = False
    """Active without sockets, until it is resumed; or read no further until its consumers have caught up."""
    mode: str = ""
    command: str = ""
    """Commands under way."""


@dataclass(frozen=True)
class MarketTime:
    """Market time now: the wall clock, or the simulated market's own."""

    anchor: Path | None

    @classmethod
    def of(cls, settings: Settings) -> MarketTime:
        return cls(settings.home / "market.json" if settings.simulated else None)

    def now_ms(self) -> int:
        real_ms = time.time_ns() // 1_000_000
        if self.anchor is None:
            return real_ms
        from livermore_dagster.simulator.clock import Anchor

        return Anchor(**json.loads(self.anchor.read_text())).market_at(real_ms)


class Watch:
    """Looks at one platform. A server that is away leaves the last view standing."""

    def __init__(self, settings: Settings, rows: Sequence[ExchangeRow]) -> None:
        self._settings = settings
        self._rows = tuple(rows)
        self._client: redis.Redis | None = None
        self._closes: dict[int, deque[tuple[float, int]]] = {row.id: deque() for row in rows}
        self._incident: str | None = None
        self.exchanges: list[ExchangeView] = []
        self.alerts: list[AlertLine] = []
        self.market_time = MarketTime.of(settings)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def refresh(self, *, alerts: int = 8) -> None:
        """Read everything anew."""
        try:
            if self._client is None:
                self._client = connect(self._settings.redis_url)
            self.exchanges = [self._exchange(self._client, row) for row in self._rows if row.active]
        except (redis.RedisError, PlatformError, OSError):
            self.close()
            self.exchanges = [replace(view, state="?") for view in self.exchanges]
        if alerts:
            self._read_alerts(alerts)

    def new_incidents(self) -> list[Incident]:
        """Incidents since the last call; none at the first, which finds out where to begin."""
        try:
            if self._client is None:
                self._client = connect(self._settings.redis_url)
            if self._incident is None:
                newest = cast("list[tuple[str, object]]", self._client.xrevrange(keys.INCIDENTS, count=1))
                self._incident = newest[0][0] if newest else "0"
                return []
            found = read_incidents_sync(self._client, self._incident)
        except (redis.RedisError, PlatformError):
            self.close()
            return []
        if found:
            self._incident = found[-1].entry_id
        return found

    def _exchange(self, client: redis.Redis, row: ExchangeRow) -> ExchangeView:
        instance = read_instance(client, row.id, row.name)
        desired = read_desired_sync(client, row.id)
        counters = read_counters_sync(client, row.id)
        settled = cast("str | None", client.get(keys.settled(row.id)))
        monitored = cast("str | None", client.get(keys.monitored(row.id)))
        status = instance.claim.status if instance.live and instance.claim else instance.last_known
        view = ExchangeView(
            row=row,
            state=instance.state,
            desired=desired.state if desired else "-",
            symbols=tuple(json.loads(monitored))
            if monitored and instance.live and instance.state != "idle"
            else (),
            closes_per_minute=self._rate(
                row.id, counters.get("closes", 0), active=instance.state == "active"
            ),
            settled_ms=int(settled) if settled else None,
            counters=counters,
            instance=json.loads(status.encode()) if status else None,
            last_error=status.last_error if status else None,
            given_up=desired.reason if desired and desired.state != "running" else "",
            standbys=tuple(one for one in read_standbys(client, row.id) if not one.gone),
            paused=bool(status and status.paused and instance.live),
            mode=desired.mode if desired else "",
            command=status.command if status and instance.live else "",
        )
        return self._with_warmup(client, view) if view.state == "warming" else view

    def _with_warmup(self, client: redis.Redis, view: ExchangeView) -> ExchangeView:
        text = cast("str | None", client.get(keys.warmup_stats(view.row.id)))
        stats = json.loads(text) if text else {}
        return replace(
            view,
            warmup_percent=float(stats.get("percent", 0.0)),
            warmup_phase=str(stats.get("phase", "")),
            warmup_eta_s=stats.get("eta_s"),
        )

    def _rate(self, exchange_id: int, closes: int, *, active: bool) -> float:
        """Closes in a real minute; what the warm-up brought does not count."""
        seen = self._closes[exchange_id]
        if not active:
            seen.clear()
        now = time.monotonic()
        seen.append((now, closes))
        while now - seen[0][0] > RATE_WINDOW_S:
            seen.popleft()
        span = now - seen[0][0]
        return (closes - seen[0][1]) / span * 60 if span > 1 else 0.0

    def _read_alerts(self, count: int) -> None:
        address = conninfo(self._settings.database_url, self._settings.database_ca)
        try:
            with psycopg.connect(address, connect_timeout=2) as connection:
                rows = connection.execute(
                    "SELECT e.name, a.symbol, a.timeframe, a.label, a.macdv, a.candle_end_ms,"
                    " a.withdrawn_ms IS NOT NULL"
                    " FROM alert_history a JOIN exchanges e ON e.id = a.exchange_id"
                    " ORDER BY a.candle_end_ms DESC, a.id DESC LIMIT %s",
                    [count],
                ).fetchall()
        except psycopg.OperationalError:
            return
        self.alerts = [AlertLine(*row) for row in rows]
