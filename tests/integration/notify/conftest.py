"""A platform's stores with users and alerts in them, a notifier over them, and the services it tells."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from livermore_dagster.accounts import settings
from livermore_dagster.accounts.settings_document import SettingsDocument
from livermore_dagster.accounts.users import add_user
from livermore_dagster.clock import SystemClock
from livermore_dagster.control.service_process import ServiceEnvironment
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.candle import Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.notify import painter
from livermore_dagster.notify.illustrator import Illustrator
from livermore_dagster.notify.service import Notifier
from livermore_dagster.stores.postgres import deliveries
from livermore_dagster.stores.postgres.alerts import AlertRow, insert_alerts
from livermore_dagster.stores.postgres.connect import Pool, open_pool
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.postgres.users import User
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.client import connect_async
from tests.integration.notify.stand_in import StandIn, playing
from tests.integration.signals.conftest import walk

BEGIN = 1_767_225_600_000
M5, BINANCE, COINBASE = Timeframe.M5, 2, 1


def alert(bar: int, symbol: str = "AAAUSDT", **changes: Any) -> AlertRow:
    """A level alert of bar `bar`, triggered 1.5 s after its end."""
    open_ms = BEGIN + bar * M5.ms
    facts: dict[str, Any] = {
        "symbol": symbol, "timeframe": M5, "label": "level_150", "kind": "level", "direction": "up",
        "open_ms": open_ms, "candle_end_ms": open_ms + M5.ms, "triggered_ms": open_ms + M5.ms + 1_500,
        "price": "101.25", "price_source": "ticker", "price_age_ms": 800, "macdv": 151.5, "signal": 120.0,
        "histogram": 31.5, "stage": "overbought", "previous_label": None, "timeframes": {}, "bias": "bullish",
        "late": False, "revised": False,
    }  # fmt: skip
    return AlertRow(**{**facts, **changes})


@dataclass
class Told:
    """The stores, and what a notifier did with them."""

    redis_url: str
    database_url: str
    redis: redis.asyncio.Redis
    pool: Pool
    services: StandIn
    monkeypatch: pytest.MonkeyPatch
    environment: dict[str, str] = field(default_factory=dict)

    async def user(self, sub: str = "local:ann", role: Any = "user", **alerts: Any) -> None:
        """A user with these alert settings."""
        async with self.pool.connection() as connection:
            await add_user(connection, User(0, "local", sub, "", sub, None, role))
        await self.settings(sub, **alerts)

    async def settings(self, sub: str = "local:ann", **alerts: Any) -> None:
        """Replaces a user's alert settings, as any door would."""
        document = json.loads(SettingsDocument().model_dump_json())
        document["profile"] |= alerts.pop("profile", {})
        document["alerts"] |= alerts
        async with self.pool.connection() as connection:
            await settings.replace(connection, self.redis, sub, json.dumps(document), by="test")

    def channel(
        self, name: str, *steps: str, kind: str = "discord", default: str = "ok", **more: Any
    ) -> dict[str, Any]:
        """A channel's settings, its address in the environment."""
        variable = f"HOOK_{name.upper()}"
        address = self.services.hook(name, *steps, default=default)
        if kind == "apprise":
            address = f"json://127.0.0.1:{self.services.port}/json"
        self.monkeypatch.setenv(variable, address)
        self.environment[variable] = address
        return {"name": name, "kind": kind, "url_env": variable, "chart": False, **more}

    async def raise_alerts(
        self, *alerts: AlertRow, exchange_id: int = BINANCE, publish: bool = True
    ) -> list[int]:
        """Stores alerts and publishes them, as ingest does; their ids."""
        async with self.pool.connection() as connection:
            stored = await insert_alerts(connection, exchange_id, alerts)
        if publish:
            for one in stored:
                await self.redis.publish(keys.channel_alerts(exchange_id), json.dumps({"id": one.id}))
        return [one.id for one in stored]

    async def candles(self, bars: int = 200, symbol: str = "AAAUSDT") -> None:
        """Bars 0 to `bars` − 1 in the cache."""
        batch = [
            StampedCandle(symbol, M5, candle, Rank.FINAL, candle.open_ms + M5.ms, Origin.WARMUP)
            for candle in walk(bars)
        ]
        await CandleCache(self.redis, BINANCE).write(batch, SystemClock().now_ms())

    @asynccontextmanager
    async def notifier(self, provenance: str = "live", clock: Any = None) -> AsyncIterator[Notifier]:
        """A notifier at work; ended cleanly."""
        where = ServiceEnvironment(self.redis_url, self.database_url, None, provenance)
        notifier = Notifier(where, clock)
        task = asyncio.create_task(notifier.run())
        try:
            async with asyncio.timeout(60):
                await notifier.ready.wait()
            yield notifier
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=60)

    @asynccontextmanager
    async def standing_by(self) -> AsyncIterator[Notifier]:
        """A second notifier, which does not become ready while the first is at work."""
        notifier = Notifier(ServiceEnvironment(self.redis_url, self.database_url, None, "live"))
        task = asyncio.create_task(notifier.run())
        try:
            yield notifier
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=60)

    async def until_settings_taken(self) -> None:
        """Until the notifier that listens works under the newest settings."""
        async with self.pool.connection() as connection:
            found = await connection.execute("SELECT sum(revision) FROM user_settings")
            (newest,) = await found.fetchone() or (0,)
        async with asyncio.timeout(60):
            while True:
                state = json.loads(await self.redis.get(keys.NOTIFIER) or "{}")
                if state.get("revisions") == newest:
                    return
                await asyncio.sleep(0.01)

    async def rows(self) -> list[dict[str, Any]]:
        """Every delivery, by alert and channel."""
        async with self.pool.connection() as connection:
            found = await connection.execute(
                "SELECT alert_id, channel, form, state, reason, attempts, last_error, receipt"
                " FROM alert_deliveries ORDER BY alert_id, channel"
            )
            names = [column.name for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in await found.fetchall()]

    async def until_rows(
        self, holds: Callable[[list[dict[str, Any]]], bool], timeout_s: float = 60.0
    ) -> list[dict[str, Any]]:
        async with asyncio.timeout(timeout_s):
            while not holds(rows := await self.rows()):  # noqa: ASYNC110 - the table has no event for it
                await asyncio.sleep(0.01)
        return rows


@pytest.fixture
async def told(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Told]:
    monkeypatch.setitem(deliveries._HOLD, "hold_ms", 400)
    # The machine may be busy with other tests: a chart that comes late is none of what is tested.
    monkeypatch.setattr(painter, "PATIENCE_S", 30.0)
    monkeypatch.setitem(Illustrator.__init__.__kwdefaults__, "within_s", 30.0)
    client = connect_async(redis_url)
    pool = await open_pool(database_url, None, name="test")
    async with pool.connection() as connection:
        await upsert_rows(connection, ROWS)
    async with playing() as services:
        yield Told(redis_url, database_url, client, pool, services, monkeypatch)
    await pool.close()
    await client.aclose()


NEVER_S = 3_600.0
_LOOKING = """
import sys
from livermore_dagster.notify import __main__ as notify, service
service._LOOK_S = float(sys.argv[1])
sys.exit(notify.main())
"""


@contextmanager
def process(told: Told, log: Path, look_s: float | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The notifier as `up` starts it; but that it looks into the table, unasked, every `look_s` seconds."""
    command = ["-m", "livermore_dagster.notify"] if look_s is None else ["-c", _LOOKING, str(look_s)]
    environment = {
        **os.environ,
        **told.environment,
        "LIVERMORE_REDIS_URL": told.redis_url,
        "LIVERMORE_DATABASE_URL": told.database_url,
        "LIVERMORE_PROVENANCE": "live",
    }
    with log.open("ab") as output:
        started = subprocess.Popen([sys.executable, *command], env=environment, stdout=output, stderr=output)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def all_in(*states: str) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether there are deliveries, and all are in one of these states."""
    return lambda rows: bool(rows) and all(row["state"] in states for row in rows)
