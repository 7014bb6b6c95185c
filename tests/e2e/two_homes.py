"""Two homes over the same servers and the same simulated exchanges, the exchange's processes alone.

The homes differ by LIVERMORE_HOME only, as `livermore up` sets it for what it starts.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

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
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice, write_desired_sync
from tests.e2e.comparison import alert_differences, differences
from tests.e2e.platform_run import COMMAND, Place, Truth, environment, wait_for

SPEED = 60
ACTIVE_S = 60.0
"""A standby is active this soon after the holder died."""


@contextmanager
def market_of(folder: Path, exchange: str, seed: int) -> Iterator[Path]:
    """A simulator in a process of its own; the file that says where it is, market.json beside it."""
    told = folder / "simulator.json"
    words = ["simulate", "--json", "--seed", str(seed), "--speed", str(SPEED), "--exchange", exchange]
    words += ["--from", "2026-01-05T23:30:00Z", "--anchor", str(folder / "market.json")]
    with told.open("wb") as output:
        process = subprocess.Popen([*COMMAND, *words], env=environment(), stdout=output)
    try:
        wait_for(lambda: bool(read_doors(told)), 30, "the simulator does not say where it is")
        yield told
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@dataclass
class TwoHomes:
    """`settings`: of the servers; its home holds the market's anchor."""

    settings: Settings
    doors: Path
    exchange: str
    client: redis.Redis
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
            [sys.executable, "-m", "livermore_dagster.ingest", self.exchange, *options],
            env={**environment(), **self.settings.environment(), "LIVERMORE_HOME": home},
            stdout=output, stderr=output, cwd="/",
        )  # fmt: skip
        self.processes.append(process)
        return process

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
        wait_for(lambda: self.market_ms() >= until, minutes * 60 / SPEED + 5, "market time stands still")

    def hand_over(self) -> Answer:
        user, _ = local_user(self.settings)
        assert user is not None

        async def send() -> Answer:
            client = connect_async(self.settings.redis_url)
            try:
                return await send_command(
                    client, self.row, user.sub, CommandType.HAND_OVER, {}, patience_s=20
                )
            finally:
                await client.aclose()

        return asyncio.run(send())

    def story(self) -> list[NetworkEvent]:
        """Oldest first."""
        return read_log(self.client, self.exchange, 1_000)[::-1]

    def wrong(self) -> list[str]:
        """Every candle and alert since the window began that is not as it must be."""
        drain(self.settings, [self.row], self.window, lambda: None)
        start, end = self.window.from_ms, self.window.to_ms
        assert start is not None
        assert end is not None
        assert end > start + 600_000, (start, end)
        place = Place(self.settings.home, self.settings.redis_url, self.settings.database_url)
        truth = Truth({name: door.control_url for name, door in read_doors(self.doors).items()})
        symbols: Sequence[str] = json.loads(self.client.get(keys.monitored(self.row.id)))
        found = differences(place, truth, self.exchange, symbols, start, end)
        return found + alert_differences(place, truth, self.exchange, symbols, start, end)

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
        for process in self.processes:
            process.wait(20)
