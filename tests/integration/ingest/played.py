"""A simulated market in its own process, and a database and Redis that point at it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
from psycopg import AsyncConnection

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.candle import canonical
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.closes import backlog_sync
from livermore_dagster.stores.redis.desired import (
    Desired,
    SymbolChoice,
    read_desired_sync,
    write_desired_sync,
)

IDS = {row.name: row.id for row in ROWS}
Values = tuple[str, str, str, str, str]
_DOORS = httpx.Client(timeout=30)
"""To every control door: a client of its own for each question would cost more than the answer."""

_PLAY = """
import sys
from livermore_dagster.simulator.run import run
run(sys.argv[1].split(","), seed=7, speed=float(sys.argv[2]), start_ms=int(sys.argv[3]), anchor=None,
    base_port=0, tls=None, symbols=int(sys.argv[4]), coinbase_4h=True, as_json=True)
"""


@dataclass
class Platform:
    """Everything a service needs (`Servers`), and what a test asks of the market and the stores."""

    redis_url: str
    database_url: str
    addresses: dict[str, dict[str, str]]
    database_ca: Path | None = None
    provenance: str = "sim:7"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "LIVERMORE_REDIS_URL": self.redis_url,
            "LIVERMORE_DATABASE_URL": self.database_url,
            "LIVERMORE_PROVENANCE": self.provenance,
        }

    def want(self, exchange: str, state: str = "running", top: int = 8) -> None:
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            write_desired_sync(client, IDS[exchange], Desired(state, SymbolChoice(top=top), "tester"))

    # --- the market -------------------------------------------------------------------------------------
    def ask(self, exchange: str, path: str, **query: Any) -> Any:
        reply = _DOORS.get(f"{self.addresses[exchange]['control_url']}/{path}", params=query, timeout=30)
        reply.raise_for_status()
        return reply.json()

    def post(self, exchange: str, path: str, **order: Any) -> Any:
        reply = _DOORS.post(f"{self.addresses[exchange]['control_url']}/{path}", json=order, timeout=30)
        assert reply.status_code == 200, f"{path} {order}: {reply.text}"
        return reply.json()

    def fault(self, exchange: str, **order: Any) -> None:
        self.post(exchange, "faults", **order)

    def change(self, exchange: str, **settings: float) -> None:
        """What the exchange allows and how often it sends (GET control/settings)."""
        self.post(exchange, "settings", **settings)

    def market_now(self, exchange: str) -> int:
        return int(self.ask(exchange, "clock")["now_ms"])

    def truth(
        self, exchange: str, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int
    ) -> dict[int, Values]:
        found = self.ask(
            exchange, "truth", symbol=symbol, timeframe=timeframe.value, start=start_ms, end=end_ms
        )
        names = ("open", "high", "low", "close", "volume")
        return {
            int(row["open_ms"]): tuple(canonical(str(row[name])) for name in names)
            for row in found["candles"]
            if start_ms <= int(row["open_ms"]) and int(row["open_ms"]) + timeframe.ms <= end_ms
        }

    # --- the stores -------------------------------------------------------------------------------------
    def stored(
        self, exchange: str, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int
    ) -> dict[int, Values]:
        with psycopg.connect(self.database_url) as connection:
            rows = connection.execute(
                "SELECT open_ms, open, high, low, close, volume FROM candles WHERE exchange_id = %s"
                " AND symbol = %s AND timeframe = %s AND open_ms >= %s AND open_ms + %s <= %s",
                (IDS[exchange], symbol, timeframe.value, start_ms, timeframe.ms, end_ms),
            ).fetchall()
        return {row[0]: tuple(canonical(value) for value in row[1:]) for row in rows}

    def query(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(statement, given).fetchall()  # type: ignore[arg-type]

    def execute(self, statement: str, *given: Any) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement, given)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, decode_responses=True)

    def counters(self, exchange: str) -> dict[str, int]:
        with self.redis() as client:
            return {name: int(n) for name, n in client.hgetall(keys.counters(IDS[exchange])).items()}

    def settled(self, exchange: str) -> int:
        with self.redis() as client:
            return int(client.get(keys.settled(IDS[exchange])) or 0)

    def symbols(self, exchange: str) -> list[str]:
        """Those monitored; where no instance ever ran, those it would."""
        with self.redis() as client:
            monitored = client.get(keys.monitored(IDS[exchange]))
            desired = read_desired_sync(client, IDS[exchange])
        if monitored:
            return json.loads(monitored)
        top = (desired.symbols.top if desired is not None else None) or 50
        ranked = self.query(
            "SELECT symbol FROM exchange_symbols WHERE exchange_id = %s AND volume_rank <= %s"
            " ORDER BY volume_rank",
            IDS[exchange],
            top,
        )
        return [row[0] for row in ranked]

    def state(self, exchange: str) -> str:
        with self.redis() as client:
            text = client.get(keys.status(IDS[exchange]))
        return json.loads(text)["connectionState"] if text else "none"

    def differences(
        self, exchange: str, timeframes: list[Timeframe], start_ms: int, end_ms: int
    ) -> list[str]:
        """Where PostgreSQL is not the truth of [start, end); empty when it is."""
        wrong: list[str] = []
        for symbol in self.symbols(exchange):
            for timeframe in timeframes:
                truth = self.truth(exchange, symbol, timeframe, start_ms, end_ms)
                stored = self.stored(exchange, symbol, timeframe, start_ms, end_ms)
                wrong += [
                    f"{symbol} {timeframe} {at}: truth {truth.get(at)}, stored {stored.get(at)}"
                    for at in sorted(truth.keys() | stored.keys())
                    if truth.get(at) != stored.get(at)
                ]
        return wrong

    def until_true(
        self, exchange: str, timeframes: list[Timeframe], start_ms: int, end_ms: int, seconds: float = 60
    ) -> None:
        """Waits until PostgreSQL is the truth of [start, end): what is settled has yet to come into it."""

        def wrong() -> list[str]:
            return self.differences(exchange, timeframes, start_ms, end_ms)

        until(lambda: wrong() == [], seconds, lambda: str(wrong()[:5]))

    def idle_consumers(self, exchange: str) -> bool:
        """Whether every close there is was stored and judged."""
        with self.redis() as client:
            return not any(backlog_sync(client, IDS[exchange]).unacknowledged.values())


class Subscriber:
    """Remembers every JSON message of a channel, from its making on."""

    def __init__(self, platform: Platform, channel: str) -> None:
        self.messages: list[dict[str, Any]] = []
        self._client = platform.redis()
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(**{channel: lambda message: self.messages.append(json.loads(message["data"]))})
        self._pubsub.get_message(timeout=60)  # the server's word that it has subscribed
        self._thread = self._pubsub.run_in_thread(sleep_time=0.05, daemon=True)

    def close(self) -> None:
        self._thread.stop()
        self._thread.join(5)
        self._client.close()


def until(holds: Callable[[], bool], seconds: float, what: str | Callable[[], str]) -> None:
    """Waits for an event that only the stores tell of; `what` is said when it does not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.1)


@contextmanager
def played(
    redis_url: str,
    database_url: str,
    exchanges: list[str],
    speed: float,
    start_ms: int,
    *,
    symbols: int = 40,
    timeframes: tuple[Timeframe, ...] = tuple(Timeframe),
) -> Iterator[Platform]:
    """`symbols`: bases each exchange lists; `timeframes`: those of them that its row in the database has."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PLAY, ",".join(exchanges), str(speed), str(start_ms), str(symbols)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())["exchanges"]
        asyncio.run(point(database_url, addresses, timeframes))
        with redis.Redis.from_url(redis_url) as client:
            client.set(keys.PROVENANCE, "sim:7")
        yield Platform(redis_url, database_url, addresses)
    finally:
        process.terminate()
        process.wait(60)


async def point(
    database_url: str, addresses: dict[str, dict[str, str]], timeframes: tuple[Timeframe, ...]
) -> None:
    rows = [
        replace(
            row,
            rest_url=addresses[row.name]["rest_url"],
            ws_url=addresses[row.name]["ws_url"],
            timeframes=tuple(tf for tf in row.timeframes if tf in timeframes),
            streamed_timeframes=tuple(tf for tf in row.streamed_timeframes if tf in timeframes),
        )
        if row.name in addresses
        else row
        for row in ROWS
    ]
    async with await AsyncConnection.connect(database_url) as connection:
        await upsert_rows(connection, rows)
