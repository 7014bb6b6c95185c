"""What runs where: the facts behind `livermore status`."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from livermore_dagster.errors import PlatformError, ProvenanceMismatch
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.attach import require_provenance, require_redis
from livermore_dagster.platform.config import Settings, market_speed, platform_record
from livermore_dagster.platform.homes import homes_up, orchestrator
from livermore_dagster.platform.incident_lines import incident_lines
from livermore_dagster.platform.notifications import channel_troubles, gather_notifications
from livermore_dagster.platform.processes import family_memory, read_record
from livermore_dagster.platform.report import LATENCIES
from livermore_dagster.platform.vitals import read_vitals
from livermore_dagster.platform.watch import ExchangeView, Watch
from livermore_dagster.stores.postgres.connect import conninfo, no_answer
from livermore_dagster.stores.postgres.exchanges import load_exchanges
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.metrics import LatencyHistogram

__all__ = ["StatusReader", "gather", "without_password"]

ALERTS = 20


def gather(home: Path | None) -> dict[str, Any]:
    """Processes, addresses, exchanges, counters and newest alerts of the platform of a home."""
    reader = StatusReader.of(home)
    try:
        return reader.read()
    finally:
        reader.close()


class StatusReader:
    """Reads the same facts again and again; rates are over the time it has been looking."""

    @classmethod
    def of(cls, home: Path | None) -> StatusReader:
        """Raises NotRunning, ProvenanceMismatch, and PlatformError when Redis does not answer."""
        settings = Settings.discover(home)
        require_redis(settings)
        return cls(settings)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # As the code has them, until PostgreSQL says how they are here.
        self._watch = Watch(settings, ROWS)
        self._rows_read = False

    def close(self) -> None:
        self._watch.close()

    def read(self) -> dict[str, Any]:
        """Without PostgreSQL what Redis and the processes tell, `unanswered` and the first trouble say why.

        Raises PlatformError when Redis does not answer, ProvenanceMismatch.
        """
        away = self._read_rows()
        settings, watch = self._settings, self._watch
        record: dict[str, Any] = platform_record(settings.home) or {}
        speed = market_speed(settings.home)
        watch.refresh(alerts=0 if away else ALERTS)
        now_ms = watch.market_time.now_ms()
        with connect(settings.redis_url) as client:
            vitals = {one.name: one for one in read_vitals(client, [v.row for v in watch.exchanges], now_ms)}
            names = {view.row.id: view.row.name for view in watch.exchanges}
            homes = _homes(client)
            incidents = [asdict(line) for line in incident_lines(client, names)]
            latency = {name: LatencyHistogram(name).snapshot_sync(client).summary() for name in LATENCIES}
        doors: dict[str, dict[str, str]] = record.get("doors", {})
        notifications: dict[str, Any] | None = None
        if not away:
            try:
                notifications = asyncio.run(gather_notifications(settings))
            except PlatformError as error:
                away = [error.message]
        metrics = record.get("metrics_url")
        return {
            "home": str(settings.home),
            "provenance": settings.provenance,
            "simulated": settings.simulated,
            "speed": speed,
            "market_time_ms": now_ms,
            "pid": record.get("pid"),
            "addresses": {
                "dagster": record.get("web_url"),
                "metrics": f"{metrics}/metrics" if metrics else None,
                "health": f"{metrics}/health" if metrics else None,
                "redis": without_password(settings.redis_url),
                "postgresql": without_password(settings.database_url),
            },
            "processes": [_process(settings.home, process) for process in record.get("processes", [])],
            "homes": homes,
            "simulator": doors,
            "exchanges": {
                view.row.name: {**vitals[view.row.name].as_dict(speed), **_exchange(view, doors)}
                for view in watch.exchanges
            },
            "latency_ms": {name: summary.as_dict() for name, summary in latency.items()},
            "alerts": [vars(alert) for alert in watch.alerts],
            "incidents": incidents,
            "notifications": notifications,
            "unanswered": away,
            "trouble": [
                *away,
                *_slot_trouble(watch.exchanges),
                *_last_errors(watch.exchanges),
                *(channel_troubles(notifications) if notifications else []),
            ],
        }

    def _read_rows(self) -> list[str]:
        """What keeps PostgreSQL from telling anything."""
        try:
            if not self._rows_read:
                require_provenance(self._settings)
                rows = _rows(self._settings)
                self._watch.close()
                self._watch, self._rows_read = Watch(self._settings, rows), True
        except PlatformError as error:
            if isinstance(error, ProvenanceMismatch) or error.exit_code == 2:
                raise  # it answers, or its address is wrong: that is no server that is away
            return [error.message]
        return []


def _rows(settings: Settings) -> list[ExchangeRow]:
    async def read() -> list[ExchangeRow]:
        address = conninfo(settings.database_url, settings.database_ca)
        async with await psycopg.AsyncConnection.connect(address, connect_timeout=5) as connection:
            return await load_exchanges(connection)

    try:
        return asyncio.run(read())
    except psycopg.OperationalError as error:
        raise no_answer(error) from None


def _process(home: Path, process: dict[str, Any]) -> dict[str, Any]:
    newest = read_record(home / "run" / "processes.json")
    known = {child.name: child for child in newest.children} if newest else {}
    identity = known.get(process["name"])
    alive = identity is not None and identity.alive
    pid = identity.pid if identity is not None else process["pid"]
    return {
        "name": process["name"],
        "pid": pid if alive else None,
        "alive": alive,
        "address": process["address"],
        "memory_bytes": family_memory(pid) if alive else 0,
        "log": process["log"],
    }


def _exchange(view: ExchangeView, doors: dict[str, dict[str, str]]) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    return {
        "id": view.row.id,
        "state": view.state,
        "desired": view.desired,
        "paused": view.paused,
        "mode": view.mode,
        "command": view.command,
        "symbols": list(view.symbols),
        "settled_ms": view.settled_ms,
        "closes_per_minute": round(view.closes_per_minute, 1),
        "warmup": None
        if view.warmup_percent is None
        else {"percent": view.warmup_percent, "phase": view.warmup_phase, "eta_s": view.warmup_eta_s},
        "rest_url": view.row.rest_url,
        "ws_url": view.row.ws_url,
        "control_url": doors.get(view.row.name, {}).get("control_url"),
        "last_error": view.given_up or view.last_error,
        "counters": view.counters,
        "instance": view.instance and {key: item for key, item in view.instance.items() if key != "token"},
        "standbys": [
            {
                "instanceId": one.status.instance_id,
                "hostname": one.status.hostname,
                "ipAddress": one.status.ip_address,
                "home": one.status.home,
                "pid": one.status.pid,
                "since_ms": one.status.registered_at,
                "heartbeat_age_s": max(0, now_ms - one.status.last_heartbeat) / 1000,
            }
            for one in view.standbys
        ],
    }


def _homes(client: redis.Redis) -> list[dict[str, Any]]:
    """All whose platform is up on these servers; `daemon`: it runs Dagster's."""
    holder = orchestrator(client)
    return [
        {
            "home": one.home,
            "hostname": one.hostname,
            "pid": one.pid,
            "since_ms": one.since,
            "daemon": holder is not None and holder.token == one.token,
        }
        for one in homes_up(client)
    ]


def _slot_trouble(views: list[ExchangeView]) -> list[str]:
    """An exchange that shall run but does not, with every slot of the ingest workers taken."""
    from livermore_dagster.platform.children import WORKERS

    slots = dict(WORKERS)["ingest"]
    running = [view for view in views if view.state in ("starting", "warming", "active", "stopping")]
    waiting = [view.row.name for view in views if view.desired == "running" and view not in running]
    if waiting and len(running) >= slots:
        return [f"no ingest slot is left for {', '.join(waiting)}: {len(running)} of {slots} are taken"]
    return []


def _last_errors(views: list[ExchangeView]) -> list[str]:
    """What keeps an exchange from running that shall run, or shall no longer because it cannot."""
    given_up = [
        f"{view.row.name} went back to idle, since it cannot run as asked: {view.given_up} "
        f"Start it again with what can be: livermore start {view.row.name} --symbols …"
        for view in views
        if view.given_up
    ]
    return given_up + [
        f"{view.row.name} shall run and is {view.state}: {view.last_error}{_tried(view)}"
        for view in views
        if view.desired == "running" and view.state in ("idle", "offline") and view.last_error
    ]


def _tried(view: ExchangeView) -> str:
    """When it failed last. The keeper waits a minute at most before it tries again."""
    at_ms = (view.instance or {}).get("lastErrorAt")
    if not isinstance(at_ms, int):
        return ""
    ago_s = max(0, time.time_ns() // 1_000_000 - at_ms) // 1000
    return f" (tried {ago_s} s ago, and again within a minute)" if ago_s < 3_600 else ""


def without_password(address: str) -> str:
    """A URL, or libpq's `host=… password=…`, without its password, wherever that stands (R8)."""
    if "://" not in address:
        known = conninfo_to_dict(address)
        return make_conninfo("", **{name: known[name] for name in known if "password" not in name})
    shown = re.sub(r"(?<=[?&])\w*password=[^&]*&?", "", address).rstrip("?&")
    scheme, separator, rest = shown.partition("://")
    server, slash, path = rest.partition("/")
    login, at, place = server.rpartition("@")
    return f"{scheme}{separator}{login.partition(':')[0]}{at}{place}{slash}{path}"
