"""`livermore doctor`: every assumption of a running platform looked at, each finding with what to do."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
import redis

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.states import InstanceState
from livermore_dagster.control.status import living_status
from livermore_dagster.errors import LivermoreError, NotRunning
from livermore_dagster.exchanges.budget import Permit, RateBudget
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.exchanges.factory import client_for, dialect_for, start_rule
from livermore_dagster.ingest.own_clock import AFFECTS
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform import schema
from livermore_dagster.platform.atlas import INSTALL, find_atlas
from livermore_dagster.platform.config import (
    DATABASE_CA,
    DATABASE_URL,
    REDIS_URL,
    Settings,
    market_speed,
    platform_record,
)
from livermore_dagster.platform.home import Home
from livermore_dagster.platform.watch import MarketTime
from livermore_dagster.stores.postgres.connect import conninfo, no_answer, schema_differs
from livermore_dagster.stores.postgres.exchanges import load_exchanges
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect, connect_async

__all__ = ["Finding", "Level", "examine"]

CLOCK_WARN_S = 1.0
CLOCK_FAIL_S = 5.0
CLOCK_ADVICE = f"Let every machine set its clock by NTP (timedatectl set-ntp true). {AFFECTS}"
DISK_WARN = 5_000_000_000
DISK_FAIL = 500_000_000
REDIS_OLDEST = (7, 0)
POSTGRES_OLDEST = 140_000
EXCHANGE_TIMEOUT_S = 10.0
PACKAGES = ("dagster", "dagster-webserver", "dagster-postgres", "dagster-celery")


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `advice` is empty when all is well."""

    name: str
    level: Level
    text: str
    advice: str = ""


def examine(home: Path) -> list[Finding]:
    """All findings. Without a running platform: the machine, and the servers the next start shall use."""
    found = [*_machine(home)]
    try:
        settings = Settings.discover(home)
    except NotRunning as error:
        return [*found, Finding("platform", Level.WARN, error.message, error.advice), *_named_servers()]
    found += _processes(home)
    found += _guarded("redis", lambda: _redis(settings.redis_url, settings.provenance))
    found += _guarded(
        "postgresql",
        lambda: _postgres(settings.database_url, settings.database_ca, settings.provenance),
    )
    if all(finding.level is not Level.FAIL for finding in found if finding.name in ("redis", "postgresql")):
        found += asyncio.run(_exchanges(settings))
    return found


def _named_servers() -> list[Finding]:
    """Those of the environment, whatever data they hold."""
    redis_url, database_url = os.environ.get(REDIS_URL), os.environ.get(DATABASE_URL)
    found: list[Finding] = []
    if redis_url:
        found += _guarded("redis", lambda: _redis(redis_url, None))
    if database_url:
        ca = os.environ.get(DATABASE_CA)
        found += _guarded("postgresql", lambda: _postgres(database_url, Path(ca) if ca else None, None))
    return found


def _guarded(name: str, look: Any) -> list[Finding]:
    """What was found, and last what went wrong with looking."""
    found: list[Finding] = []
    try:
        for finding in look():
            found.append(finding)  # noqa: PERF402 - what came before an error counts
    except LivermoreError as error:
        found.append(Finding(name, Level.FAIL, error.message, error.advice))
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        other = schema_differs(error)
        found.append(Finding(name, Level.FAIL, other.message, other.advice))
    except psycopg.Error as error:
        told = no_answer(error)
        found.append(Finding(name, Level.FAIL, told.message, "Is it running? See its log."))
    except (redis.RedisError, OSError) as error:
        found.append(Finding(name, Level.FAIL, f"It does not answer: {error}", "Is it running? See its log."))
    return found


def _machine(home: Path) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("python", Level.OK, f"{version} at {sys.executable}")
    releases = {name: importlib.metadata.version(name) for name in PACKAGES}
    core = releases["dagster"]
    if releases["dagster-webserver"] != core:
        yield Finding(
            "dagster", Level.FAIL, f"dagster {core} with webserver {releases['dagster-webserver']}",
            "They must be of one release: run `make install`.",
        )  # fmt: skip
    else:
        yield Finding("dagster", Level.OK, ", ".join(f"{name} {found}" for name, found in releases.items()))
    place = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    level = Level.FAIL if free < DISK_FAIL else Level.WARN if free < DISK_WARN else Level.OK
    advice = "" if level is Level.OK else "Free some space: candles and Valkey's append-only file grow."
    yield Finding("disk", level, f"{free / 1e9:.1f} GB free where {place} is", advice)
    try:
        atlas = find_atlas()
    except LivermoreError as error:
        yield Finding("atlas", Level.FAIL, error.message, error.advice)
        return
    if atlas is None:
        yield Finding("atlas", Level.WARN, "not installed; needed only by `livermore db apply`", INSTALL)
    else:
        yield Finding("atlas", Level.OK, str(atlas))


def _processes(home: Path) -> Iterator[Finding]:
    record = platform_record(home)
    if record is None:
        yield Finding("processes", Level.WARN, "This platform was not started by `livermore up`.")
        return
    if Home(home).holder() is None:
        yield Finding(
            "processes", Level.FAIL, "`livermore up` is gone, its record is left.", "Run `livermore down`."
        )
        return
    processes: Any = record["processes"]
    dead = [
        str(one["name"]) for one in processes if not one["pid"] or not Path(f"/proc/{one['pid']}").exists()
    ]
    if dead:
        yield Finding(
            "processes", Level.WARN, f"not running now: {', '.join(dead)}", "See the logs in the home."
        )
    else:
        yield Finding("processes", Level.OK, f"{len(processes)} run under pid {record['pid']}")


def _redis(url: str, wanted: str | None) -> Iterator[Finding]:
    """`wanted`: the provenance it must have; None where nothing is known of it."""
    client = connect(url)
    with client:
        info: dict[str, Any] = client.info()
        version = str(info.get("valkey_version") or info["redis_version"])
        old = tuple(int(part) for part in version.split(".")[:2]) < REDIS_OLDEST
        yield Finding(
            "redis", Level.FAIL if old else Level.OK, f"{info.get('server_name', 'redis')} {version}",
            f"At least {REDIS_OLDEST[0]}.{REDIS_OLDEST[1]} is needed." if old else "",
        )  # fmt: skip
        policy = str(info.get("maxmemory_policy", "noeviction"))
        keeps = policy == "noeviction"
        yield Finding(
            "eviction", Level.OK if keeps else Level.FAIL, f"maxmemory-policy {policy}",
            "" if keeps else "Set maxmemory-policy noeviction: a forgotten close is a lost alert.",
        )  # fmt: skip
        aof = bool(info.get("aof_enabled"))
        yield Finding(
            "append-only", Level.OK if aof else Level.FAIL, "on" if aof else "off",
            "" if aof else "Set appendonly yes: without it a crash loses what was acknowledged.",
        )  # fmt: skip
        if aof and info.get("aof_last_write_status") != "ok":
            yield Finding("append-only", Level.FAIL, "the last write failed", "Is the disk full?")
        yield _stamp("redis", str(client.get(keys.PROVENANCE) or "none"), wanted)
        seconds, micros = client.time()
        yield _clock("Redis", int(seconds) + int(micros) / 1e6)


def _postgres(url: str, ca: Path | None, wanted: str | None) -> Iterator[Finding]:
    with psycopg.connect(conninfo(url, ca), connect_timeout=5) as connection:
        number = connection.info.server_version
        old = number < POSTGRES_OLDEST
        yield Finding(
            "postgresql", Level.FAIL if old else Level.OK, f"{number // 10_000}.{number % 10_000}",
            f"At least {POSTGRES_OLDEST // 10_000} is needed." if old else "",
        )  # fmt: skip
        socket = connection.info.host.startswith("/")
        verified = ca is not None
        yield Finding(
            "tls", Level.OK if socket or verified else Level.WARN,
            "a Unix socket" if socket else "encrypted, verified" if verified else "encrypted, not verified",
            "" if socket or verified else "Name the CA in LIVERMORE_DATABASE_CA to have the server verified.",
        )  # fmt: skip
        if wanted is None and schema.is_empty(connection):
            yield Finding("schema", Level.OK, "none yet: `livermore up` applies schema.sql")
            return
        if not schema.has_table(connection, "provenance"):
            yield Finding(
                "schema", Level.FAIL, "tables of somebody else, and none of Livermore's",
                "Name an empty database, of its own, in LIVERMORE_DATABASE_URL.",
            )  # fmt: skip
            return
        differences = schema.drift(connection)
        yield Finding(
            "schema", Level.FAIL if differences else Level.OK,
            "; ".join(differences[:5]) if differences else "as schema.sql says",
            "Run `livermore db apply`." if differences else "",
        )  # fmt: skip
        row = connection.execute("SELECT stamp FROM provenance").fetchone()
        yield _stamp("postgresql", str(row[0]) if row else "none", wanted)
        now = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
        if now is not None:
            yield _clock("PostgreSQL", float(now[0]))


def _stamp(place: str, found: str, wanted: str | None) -> Finding:
    same = wanted in (None, found)
    return Finding(
        f"{place} provenance", Level.OK if same else Level.FAIL, found,
        "" if same else f"This platform is {wanted!r}: it must not use that server.",
    )  # fmt: skip


def _clock(name: str, theirs_s: float) -> Finding:
    return _judge_clock(f"clock {name}", theirs_s - time.time())


def _judge_clock(name: str, ahead_s: float, speed: float = 1.0) -> Finding:
    off = abs(ahead_s) / speed
    level = Level.FAIL if off > CLOCK_FAIL_S else Level.WARN if off > CLOCK_WARN_S else Level.OK
    advice = "" if level is Level.OK else CLOCK_ADVICE
    return Finding(name, level, f"{ahead_s:+.3f} s from ours", advice)


async def _exchanges(settings: Settings) -> list[Finding]:
    address = conninfo(settings.database_url, settings.database_ca)
    async with await psycopg.AsyncConnection.connect(address) as connection:
        rows = await load_exchanges(connection)
    client = connect_async(settings.redis_url)
    try:
        looks = [_exchange(settings, client, row) for row in rows if row.active]
        return [finding for found in await asyncio.gather(*looks) for finding in found]
    finally:
        await client.aclose()


class _PatientBudget(RateBudget):
    """Its one request has EXCHANGE_TIMEOUT_S to come to its turn, and as long from there to its answer."""

    patience: asyncio.Timeout
    turn_s: float | None = None
    """When it came to its turn, by the loop's clock."""

    async def take(self, weight: int, priority: Priority) -> Permit:
        permit = await super().take(weight, priority)
        self.turn_s = asyncio.get_running_loop().time()
        self.patience.reschedule(self.turn_s + EXCHANGE_TIMEOUT_S)
        return permit


async def _exchange(settings: Settings, client: redis.asyncio.Redis, row: ExchangeRow) -> list[Finding]:
    clock, loop = SystemClock(), asyncio.get_running_loop()
    budget = _PatientBudget(client, row.id, start_rule(row, dialect_for(row)), clock)
    exchange = client_for(row, client, clock, budget=budget)
    begun = loop.time()
    try:
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S) as budget.patience:
            theirs_ms = await exchange.server_time(Priority.BROWSE)
    except TimeoutError:
        if budget.turn_s is None:
            return [await _busy(client, row)]
        text = f"no answer within {EXCHANGE_TIMEOUT_S:.0f} s"
        return [Finding(row.name, Level.FAIL, text, _advice(settings, row))]
    except LivermoreError as error:
        return [Finding(row.name, Level.FAIL, error.message, error.advice or _advice(settings, row))]
    finally:
        await exchange.close()
    took = loop.time() - (budget.turn_s or begun)
    market = MarketTime.of(settings)
    speed = market_speed(settings.home)
    ahead = (theirs_ms - market.now_ms()) / 1000
    return [
        Finding(row.name, Level.OK, f"{row.rest_url} answers in {took * 1000:.0f} ms"),
        _judge_clock(f"clock {row.name}", ahead, speed),
    ]


async def _busy(client: redis.asyncio.Redis, row: ExchangeRow) -> Finding:
    """Whether it answers is not known: nothing could be asked."""
    status = living_status(await client.get(keys.status(row.id)))
    warming = status is not None and status.connection_state is InstanceState.WARMING
    what = "the warm-up" if warming else "other requests"
    text = f"not asked: for {EXCHANGE_TIMEOUT_S:.0f} s its request limit was busy with {what}"
    return Finding(row.name, Level.WARN, text, "Run `livermore doctor` again later; see `livermore status`.")


def _advice(settings: Settings, row: ExchangeRow) -> str:
    if settings.simulated:
        return "The simulator plays it: is it running?"
    return f"Is {row.rest_url} reachable from here, and does the exchange serve this country?"
