"""A running platform on embedded servers: seen from outside, killed in part, heard all the while."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from livermore_dagster.control.claim import read_claim
from livermore_dagster.control.status import ClaimFacts
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.candle import Rank
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.dagster_yaml import dagster_database_url
from livermore_dagster.platform.embedded import EmbeddedPostgres, EmbeddedValkey
from livermore_dagster.platform.home import Home
from livermore_dagster.platform.report import Window, drain
from livermore_dagster.platform.watch import MarketTime
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.metrics import read_counters_sync
from tests.e2e.comparison import IDS, alert_differences, differences
from tests.e2e.listener import Listener
from tests.e2e.platform_run import ENDED_S, STARTED_S, STEP_MS, Place, Running, Truth, wait_for

NOT_IN_TIME = "Runs did not end in time"
BACK_S = 75.0
"""A platform flows again this long after a kill; §4 promises that ingest beats again within 60 s."""
STREAMED = {row.name: row.streamed_timeframes for row in ROWS}
UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")


@dataclass(frozen=True)
class Coverage:
    """What a home had stored for good, by exchange, symbol and timeframe: opens, and ranges known to hold
    nothing. What REST gave before it could have settled is asked for once more."""

    opens: dict[tuple[str, str, str], set[int]]
    empty: dict[tuple[str, str, str], list[tuple[int, int]]]

    @classmethod
    def of(cls, place: Place) -> Coverage:
        names = {number: name for name, number in IDS.items()}
        opens: dict[tuple[str, str, str], set[int]] = defaultdict(set)
        empty: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
        for number, symbol, timeframe, at, rank in place.query(
            "SELECT exchange_id, symbol, timeframe, open_ms, rank FROM candles"
        ):
            if rank == Rank.SETTLED or Timeframe(timeframe) in STREAMED[names[number]]:
                opens[names[number], symbol, timeframe].add(at)
        for number, symbol, timeframe, start, end in place.query(
            "SELECT exchange_id, symbol, timeframe, from_ms, to_ms FROM asked_ranges"
        ):
            empty[names[number], symbol, timeframe].append((start, end))
        return cls(dict(opens), dict(empty))

    def holds(self, exchange: str, request: Mapping[str, Any]) -> bool:
        """Whether every bar that `request` (as the simulator's door tells it) asked for was here."""
        key = (exchange, str(request["symbol"]), str(request["timeframe"]))
        step = STEP_MS[key[2]]
        first = -(-int(request["start_ms"]) // step) * step
        opens, empty = self.opens.get(key, set()), self.empty.get(key, [])
        return all(
            at in opens or any(start <= at < end for start, end in empty)
            for at in range(first, int(request["end_ms"]), step)
        )


@dataclass(frozen=True)
class Aftermath:
    """What a platform did and what it left behind."""

    home: Path
    recovered: dict[str, float]
    """Seconds from each kill until everything flowed again."""
    window: tuple[int, int]
    wrong: list[str]
    unfinished: list[tuple[str, str, str]]
    """Runs that are not over, although the platform is, which has not told so."""
    cut_off: list[str]
    """Runs of which it told that they did not end in time: ids."""
    claimed: list[str]
    """Exchanges that are still claimed."""
    stored: set[int]
    """Alerts that somebody could hear: ids."""
    heard: dict[int, list[int]]
    """Attempts heard, by alert id."""
    stopped_ms: int
    """Market time."""
    coverage: Coverage
    audited: dict[str, dict[str, int]]
    """Open of the newest candle that an audit has compared, by exchange and timeframe."""


class Fire:
    """One platform with what was measured of it. `recovered`: seconds from each kill to full flow."""

    def __init__(self, running: Running, exchanges: Sequence[str]) -> None:
        self.running = running
        self.exchanges = tuple(exchanges)
        self.listener = Listener(running.home, exchanges)
        self.recovered: dict[str, float] = {}
        self.window = Window()
        self.at_first: dict[str, frozenset[str]] = {}
        """Monitored when the window began: the most traded ones change with each UTC day."""

    # --- what is seen of it -----------------------------------------------------------------------------
    @property
    def settings(self) -> Settings:
        return Settings.discover(self.running.home)

    @property
    def place(self) -> Place:
        return Place(self.running.home, self.settings.redis_url, self.settings.database_url)

    @contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(self.settings.redis_url, decode_responses=True) as client:
            yield client

    def market_ms(self) -> int:
        return MarketTime(self.running.home / "market.json").now_ms()

    def claim(self, exchange: str) -> ClaimFacts | None:
        """The exchange's claim while its holder is active."""
        try:
            with self.redis() as client:
                found = read_claim(client, IDS[exchange])
        except redis.RedisError:
            return None
        if found is None or not found.live or found.status.connection_state.value != "active":
            return None
        return found

    def active(self) -> bool:
        return all(self.claim(name) is not None for name in self.exchanges)

    def begin(self) -> None:
        """What closes from now on is judged."""
        self.window.begin(self.market_ms())
        self.at_first = {name: frozenset(self.symbols(name)) for name in self.exchanges}

    def symbols(self, exchange: str) -> list[str]:
        with self.redis() as client:
            return list(json.loads(client.get(keys.monitored(IDS[exchange])) or "[]"))

    def closes(self, exchange: str) -> int:
        with self.redis() as client:
            return read_counters_sync(client, IDS[exchange]).get("closes", 0)

    def newest_stored(self, exchange: str) -> int:
        sql = "SELECT max(open_ms) FROM candles WHERE exchange_id = %s AND timeframe = '5m'"
        return int(self.place.query(sql, IDS[exchange])[0][0] or 0)

    def truth(self) -> Truth:
        """Of the platform's own simulator, as it is now."""
        doors = self.running.status()["simulator"]
        return Truth({name: door["control_url"] for name, door in doors.items()})

    def pid_of(self, name: str) -> int:
        """As `livermore status` says, once it can: a PostgreSQL just killed is still recovering."""
        found: dict[str, int | None] = {}

        def told() -> bool:
            with suppress(AssertionError):
                found.update({one["name"]: one["pid"] for one in self.running.status()["processes"]})
            return found.get(name) is not None

        wait_for(told, ENDED_S, f"status never shows {name}")
        return int(found[name] or 0)

    def runs(self, where: str, *given: object) -> list[tuple[str, str, str]]:
        return runs_of(self.settings.database_url, where, *given)

    def boundary_run_under_way(self) -> str:
        """Waits for a boundary run and returns in its middle; its id."""
        found: list[tuple[str, str, str]] = []

        def there() -> bool:
            found[:] = self.runs("status = 'STARTED' AND pipeline_name NOT IN ('ingest', 'audit')")
            return bool(found)

        wait_for(there, 60, "no boundary run ever starts")
        return found[0][0]

    # --- killing ----------------------------------------------------------------------------------------
    def kill(self, what: str, *pids: int, until: Callable[[], bool] = lambda: True) -> None:
        """kill -9 at once, then waits until everything flows again and `until` holds."""
        begun, at_ms = time.monotonic(), time.time_ns() // 1_000_000
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: _dead(pids), ENDED_S, f"{what} outlives SIGKILL")
        wait_for(self.active, BACK_S, f"{what}: not active again\n{self._told()}")
        market = self.market_ms()
        wait_for(lambda: self._stored_beyond(market), BACK_S, f"{what}: nothing is stored\n{self._told()}")
        wait_for(until, BACK_S, f"{what}: flows, but not wholly ({at_ms})\n{self._told()}")
        self.recovered[what] = round(time.monotonic() - begun, 1)

    def _stored_beyond(self, market_ms: int) -> bool:
        """A 5m candle that closed after `market_ms` has come to PostgreSQL, on every exchange."""
        try:
            return self.active() and all(
                self.newest_stored(name) + 300_000 > market_ms for name in self.exchanges
            )
        except psycopg.OperationalError:
            return False

    def replaced(self, exchange: str, run_id: str | None) -> bool:
        found = self.claim(exchange)
        return found is not None and found.status.run_id != run_id

    def ended(self, run_id: str) -> bool:
        return not self.runs("run_id = %s AND status = ANY(%s)", run_id, list(UNFINISHED))

    def boundary_run_succeeded_since(self, wall_s: float) -> bool:
        return bool(
            self.runs(
                "status = 'SUCCESS' AND pipeline_name NOT IN ('ingest', 'audit')"
                " AND create_timestamp >= to_timestamp(%s) AT TIME ZONE 'UTC'",
                wall_s,
            )
        )

    def _told(self) -> str:
        return self.running.log.read_text()[-3000:]

    # --- the end ----------------------------------------------------------------------------------------
    def settle(self) -> None:
        """Waits until what closed up to now is settled, stored, judged; sets the window's end."""
        asked = self.market_ms()
        drain(self.settings, [row_named(name) for name in self.exchanges], self.window, lambda: None)
        assert self.window.to_ms is not None
        assert self.window.to_ms > asked - 600_000, f"asked at {asked}, settled until {self.window.to_ms}"

    def wrong(self, start: int, end: int, *, stored_until: int = 0) -> list[str]:
        """Every candle and alert of (start, end] that is not as it must be; see `expected_alerts`."""
        truth, place = self.truth(), self.place
        found: list[str] = []
        for exchange in self.exchanges:
            symbols = [one for one in self.symbols(exchange) if one in self.at_first[exchange]]
            assert symbols, f"nothing of {exchange} was monitored all the time"
            found += differences(place, truth, exchange, symbols, start, end)
            found += alert_differences(place, truth, exchange, symbols, start, end, stored_until=stored_until)
        return found

    def end(self) -> Aftermath:
        """Reads everything while the platform runs, ends it, and looks at what it left behind."""
        self.settle()
        start, end = self.window.from_ms, self.window.to_ms
        assert start is not None
        assert end is not None
        wrong = self.wrong(start, end)
        place = self.place
        self.running.process.send_signal(signal.SIGINT)
        assert self.running.process.wait(ENDED_S) == 0, self._told()
        stopped = self.market_ms()
        with servers_of(place.home) as (redis_url, database_url):
            unfinished = runs_of(database_url, "status = ANY(%s)", list(UNFINISHED))
            cut_off = [one[0] for one in unfinished] if NOT_IN_TIME in self._told() else []
            with redis.Redis.from_url(redis_url, decode_responses=True) as client:
                claimed = [name for name in self.exchanges if read_claim(client, IDS[name]) is not None]
                marks = {name: client.hgetall(keys.audited(IDS[name])) for name in self.exchanges}
            alerts = place.query("SELECT id, published_ms FROM alert_history")
            coverage = Coverage.of(place)
        self.listener.close()
        heard = dict(self.listener.heard)
        stored = {number for number, at_ms in alerts if number in heard or not self.listener.was_deaf(at_ms)}
        return Aftermath(
            place.home,
            self.recovered,
            (start, end),
            wrong,
            [one for one in unfinished if one[0] not in cut_off],
            cut_off,
            claimed,
            stored,
            heard,
            stopped,
            coverage,
            {name: {timeframe: int(at) for timeframe, at in found.items()} for name, found in marks.items()},
        )

    def close(self) -> None:
        self.listener.close()
        self.running.end()


def _dead(pids: Sequence[int]) -> bool:
    """A killed child stays in the table until its parent looks."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def runs_of(database_url: str, where: str, *given: object) -> list[tuple[str, str, str]]:
    """Id, job and status of Dagster's runs, by its own table."""
    sql = f"SELECT run_id, pipeline_name, status FROM runs WHERE {where}"  # noqa: S608
    with psycopg.connect(dagster_database_url(database_url), connect_timeout=5) as connection:
        return [(str(row[0]), str(row[1]), str(row[2])) for row in connection.execute(sql, given).fetchall()]


@contextmanager
def servers_of(home: Path) -> Iterator[tuple[str, str]]:
    """The embedded servers of a home whose platform has ended: addresses of Valkey and PostgreSQL."""
    place = Home(home)
    valkey = EmbeddedValkey(home / "valkey", place.sockets / "valkey")
    postgres = EmbeddedPostgres(home / "postgres" / "data", place.sockets / "pg")
    started = []
    for server, user in ((valkey, None), (postgres, postgres.os_user)):
        server.prepare()
        started.append(
            subprocess.Popen(
                server.command(), user=user, group=user, cwd="/",
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip
    try:
        wait_for(
            lambda: valkey.ready() and postgres.ready(), ENDED_S, "the servers do not start on this home"
        )
        yield valkey.url, postgres.url
    finally:
        for process in started:
            process.send_signal(signal.SIGINT)
        for process in started:
            process.wait(ENDED_S)


@contextmanager
def on_fire(
    home: Path, *arguments: str, exchanges: Sequence[str] = ("coinbase", "binance")
) -> Iterator[Fire]:
    """A simulated platform at 60× whose exchanges are all active."""
    running = Running(home, "--simulate", "--speed", "60", *arguments)
    found = Fire(running, exchanges)
    try:
        running.wait_until_up()
        wait_for(found.active, STARTED_S, f"not active: {running.log}")
        found.begin()
        yield found
    finally:
        found.close()
