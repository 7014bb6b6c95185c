"""Two homes over the same servers and the same simulated exchanges, the exchange's processes alone.

The homes differ by LIVERMORE_HOME, as `livermore up` sets it for what it starts; and by the machine they are
on, where a test has machines (`two_machines`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import redis

from livermore_dagster.control.claim import read_claim
from livermore_dagster.control.commands.message import CommandType
from livermore_dagster.control.commands.sender import Answer, send_command
from livermore_dagster.control.network_log import NetworkEvent, read_log
from livermore_dagster.control.standbys import read_standbys
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.platform.addresses import read_doors, rows_for_simulation
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.report import Window, drain
from livermore_dagster.platform.servers import check_redis, local_user, prepare_database, write_rows
from livermore_dagster.platform.watch import MarketTime
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice, write_desired_sync
from tests.e2e.comparison import alert_differences, differences
from tests.e2e.platform_run import COMMAND, ENDED_S, Place, Truth, environment, wait_for

SPEED = 60
FIRST_CLOSES_MIN = 40
"""After so long every series has had a close of its own after its first start, which is 6 minutes before
midnight at the latest: what closes before a series' first one is history to it, and raises no alerts."""
ACTIVE_S = 60.0
"""A standby is active this soon after the holder died."""


@contextmanager
def market_of(folder: Path, exchange: str, seed: int, host: str = "127.0.0.1") -> Iterator[Path]:
    """A simulator in a process of its own; the file that says where it is, market.json beside it."""
    told = folder / "simulator.json"
    words = ["simulate", "--json", "--seed", str(seed), "--speed", str(SPEED), "--exchange", exchange]
    words += ["--host", host]
    words += ["--from", "2026-01-05T23:30:00Z", "--anchor", str(folder / "market.json")]
    with told.open("wb") as output:
        process = subprocess.Popen([*COMMAND, *words], env=environment(), stdout=output)
    try:
        wait_for(lambda: bool(read_doors(told)), ENDED_S, "the simulator does not say where it is")
        yield told
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(ENDED_S)


@dataclass
class TwoHomes:
    """`settings`: of the servers; its home holds the market's anchor. `machines`: by home, what a command is
    run by to run on that home's machine."""

    settings: Settings
    doors: Path
    exchange: str
    client: redis.Redis
    machines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    window: Window = field(default_factory=Window)

    def begin(self, symbols: int) -> None:
        """The exchange shall run, with its top symbols."""
        check_redis(self.settings)
        prepare_database(self.settings)
        write_rows(self.settings, rows_for_simulation(ROWS, read_doors(self.doors)))
        local_user(self.settings)
        wanted = Desired("running", SymbolChoice(top=symbols), "test")
        write_desired_sync(self.client, self.row.id, wanted)

    @property
    def row(self):
        return row_named(self.exchange)

    def start(self, home: str, *options: str) -> subprocess.Popen[bytes]:
        log = self.settings.home / f"{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
            [*self.machines.get(home, ()), sys.executable, "-m", "livermore_dagster.ingest",
             self.exchange, *options],
            env={**environment(), **self.settings.environment(), "LIVERMORE_HOME": home},
            stdout=output, stderr=output, cwd="/",
        )  # fmt: skip
        self.processes.append(process)
        return process

    def signal(self, process: subprocess.Popen[bytes], number: int) -> None:
        """To the instance itself, not to what brought it onto its machine."""
        inner = psutil.Process(process.pid).children() if self.machines else []
        os.kill(inner[0].pid if inner else process.pid, number)

    def platform(self, name: str) -> Place:
        """A whole platform on the shared servers, for `livermore up`."""
        return Place(self.settings.home / name, self.settings.redis_url, self.settings.database_url)

    def said(self, process: subprocess.Popen[bytes]) -> str:
        return (self.settings.home / f"{self.processes.index(process)}.log").read_text()

    def active_at(self, home: str) -> bool:
        claim = read_claim(self.client, self.row.id)
        if claim is None or not claim.live:
            return False
        return claim.status.home.endswith(f":{home}") and claim.status.connection_state.value == "active"

    def waits_at(self, home: str) -> bool:
        return any(one.status.home.endswith(f":{home}") for one in read_standbys(self.client, self.row.id))

    def market_ms(self) -> int:
        return MarketTime.of(self.settings).now_ms()

    def pass_market_time(self, minutes: int) -> None:
        until = self.market_ms() + minutes * 60_000
        wait_for(
            lambda: self.market_ms() >= until, minutes * 60 / SPEED + ENDED_S, "market time stands still"
        )

    def hand_over(self) -> Answer:
        user, _ = local_user(self.settings)
        assert user is not None

        async def send() -> Answer:
            client = connect_async(self.settings.redis_url)
            try:
                return await send_command(
                    client, self.row, user.sub, CommandType.HAND_OVER, {}, patience_s=ENDED_S
                )
            finally:
                await client.aclose()

        return asyncio.run(send())

    def story(self) -> list[NetworkEvent]:
        """Oldest first."""
        return read_log(self.client, self.exchange, 1_000)[::-1]

    # --- what is asked of the exchange ---------------------------------------------------------------------
    @property
    def truth(self) -> Truth:
        return Truth({name: door.control_url for name, door in read_doors(self.doors).items()})

    @property
    def monitored(self) -> list[str]:
        return list(json.loads(self.client.get(keys.monitored(self.row.id))))

    def requests_so_far(self) -> int:
        return max((one["number"] for one in self.truth.candle_requests(self.exchange)), default=0)

    def held(self) -> dict[tuple[str, str], set[int]]:
        """Opens of the final candles in the cache, of each symbol and timeframe."""

        async def read() -> dict[tuple[str, str], set[int]]:
            client = connect_async(self.settings.redis_url)
            try:
                cache = CandleCache(client, self.row.id)
                return {
                    (symbol, timeframe.value): {one.candle.open_ms for one in candles}
                    for timeframe in self.row.live_timeframes
                    for symbol, candles in (await cache.read_many(self.monitored, timeframe)).items()
                }
            finally:
                await client.aclose()

        return asyncio.run(read())

    def asked_though_held(self, after: int, held: Mapping[tuple[str, str], set[int]]) -> list[str]:
        """Candle requests since number `after` that begin with a bar that was `held` then."""
        return [
            f"{one['symbol']} {one['timeframe']} from {one['start_ms']} to {one['end_ms']}"
            for one in self.truth.candle_requests(self.exchange, after)
            if one["start_ms"] in held[one["symbol"], one["timeframe"]]
        ]

    # --- what is stored -----------------------------------------------------------------------------------
    def query(self, statement: str) -> list[tuple]:
        with psycopg.connect(self.settings.database_url) as connection:
            return connection.execute(statement).fetchall()

    def wrong(self) -> list[str]:
        """Every candle and alert since the window began that is not as it must be."""
        drain(self.settings, [self.row], self.window, lambda: None)
        start, end = self.window.from_ms, self.window.to_ms
        assert start is not None
        assert end is not None
        assert end > start + 600_000, (start, end)
        place = Place(self.settings.home, self.settings.redis_url, self.settings.database_url)
        found = differences(place, self.truth, self.exchange, self.monitored, start, end)
        return found + alert_differences(place, self.truth, self.exchange, self.monitored, start, end)

    def end(self) -> None:
        """Of all that still runs; what was stored is published then."""
        for process in self.processes:
            if process.poll() is None:
                self.signal(process, signal.SIGCONT)
                self.signal(process, signal.SIGTERM)
        for process in self.processes:
            process.wait(ENDED_S)


@contextmanager
def listening(url: str, exchange_id: int) -> Iterator[dict[int, list[int]]]:
    """The attempts of each alert published meanwhile, by its id: of all that were, once this has ended."""
    heard: dict[int, list[int]] = defaultdict(list)
    ready, last = threading.Event(), f"test:{uuid.uuid4().hex}"

    def listen() -> None:
        # Silence is no failure here.
        made = redis.Redis.from_url(url, decode_responses=True, socket_timeout=None)
        with made as client, client.pubsub() as channel:
            channel.subscribe(keys.channel_alerts(exchange_id), last)
            for message in channel.listen():
                if message["type"] == "subscribe" and message["channel"] == last:
                    ready.set()
                elif message["channel"] == last:
                    return
                elif message["type"] == "message":
                    alert = json.loads(message["data"])
                    heard[int(alert["id"])].append(int(alert["attempt"]))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        assert ready.wait(ENDED_S)
        yield heard
    finally:
        with redis.Redis.from_url(url) as client:
            client.publish(last, "")  # behind whatever was published before
        thread.join(ENDED_S)
