"""A real instance obeys: idle, started, paused, resumed, given other symbols, stopped, all in one process."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest

from livermore_dagster.accounts.settings import patch
from livermore_dagster.control.commands.sender import Verdict
from livermore_dagster.control.registry import read_instance
from livermore_dagster.control.states import InstanceState
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.ingest import commands
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.logs import LEVEL
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.desired import read_desired_sync
from tests.integration.ingest.commanding import add_users, becomes, done, newest, order, sockets, status
from tests.integration.ingest.played import IDS, Platform, played, until

START_MS = 1_767_700_830_000  # 2026-01-06T12:00:30Z
SPEED = 30.0
M1, M5 = Timeframe.M1, Timeframe.M5
BINANCE = row_named("binance")
SOON_S = 30.0
"""At once, on a machine that stands still for a while."""


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["binance"], SPEED, START_MS) as platform:
        asyncio.run(add_users(database_url))
        yield platform


@pytest.fixture
def idle(market: Platform) -> Iterator[Platform]:
    """An instance that nobody has started."""
    market.want("binance", "idle", top=3)
    service = IngestService(market, "binance", provenance=market.provenance)
    service.start()
    try:
        yield market
    finally:
        stopped = service.stop(60.0)
    assert stopped
    assert service.error is None
    assert market.state("binance") == "none"


def set_for(sub: str, market: Platform, path: str, value: object) -> None:
    async def run() -> None:
        client = connect_async(market.redis_url)
        async with await psycopg.AsyncConnection.connect(market.database_url) as connection:
            await patch(connection, client, sub, path, value, by=sub)
        await client.aclose()

    asyncio.run(run())


def compute_only(market: Platform, timeframes: list[str]) -> None:
    """Every user wants signals of these."""
    for sub in ("root", "ana"):
        set_for(sub, market, "runtime.timeframes", timeframes)


class Refusing(BaseHTTPRequestHandler):
    """Serves no one here, and says so at once."""

    def do_GET(self) -> None:
        self.send_response(451)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, *_: object) -> None: ...


@pytest.fixture
def refusing(market: Platform) -> Iterator[Platform]:
    """The exchange refuses every request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        market.execute("UPDATE exchanges SET rest_url = %s WHERE name = 'binance'", url)
        yield market
        server.shutdown()


@pytest.mark.parametrize("payload", [{}, {"top": 3}], ids=["as before", "with a number"])
def test_a_start_is_wanted_though_the_exchange_cannot_be_asked(
    payload: dict[str, int], refusing: Platform
) -> None:
    """It answers that it starts, the status says why it does not, and the next process tries again."""
    market = refusing
    market.want("binance", "idle", top=2)
    service = IngestService(market, "binance", provenance=market.provenance)
    service.start()
    try:
        becomes(market, InstanceState.IDLE, SOON_S)
        assert done(market, "start", payload) == {"state": "starting"}
        until(lambda: service.error is not None, 60, "the start failed")
    finally:
        service.stop(60.0)
    with market.redis() as client:
        desired = read_desired_sync(client, IDS["binance"])
        view = read_instance(client, IDS["binance"], "binance")
    assert desired is not None
    assert (desired.state, desired.symbols.top) == ("running", payload.get("top", 2))
    assert view.last_known is not None
    assert "451" in str(view.last_known.last_error)


def test_idle_started_stopped_and_started_again_in_one_process(
    idle: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    becomes(idle, InstanceState.IDLE, SOON_S)
    token = status(idle)["token"]
    assert sockets(idle) == 0
    assert idle.ask("binance", "counters")["requests_by_endpoint"] == {}
    for kind in ("pause", "resume"):
        refused = order(idle, kind)
        assert (refused.verdict, "is idle" in refused.words) == (Verdict.REFUSED, True)
    assert done(idle, "stop")["note"] == "binance was idle already."
    refused = order(idle, "start", {"symbols": ["NOSUCHUSDT"]})
    assert (refused.verdict, "NOSUCHUSDT" in refused.words) == (Verdict.REFUSED, True)
    assert idle.state("binance") == "idle"
    assert (status(idle)["adminEmail"], status(idle)["adminDisplayName"]) == ("", "tester")
    monkeypatch.delenv(LEVEL, raising=False)
    set_for("ana", idle, "runtime.log_level", "warning")
    assert done(idle, "start", {"top": 3}, "ana")["state"] == "starting"
    until(lambda: status(idle)["adminEmail"] == "ana@example.org", SOON_S, "who started it is not told")
    assert status(idle)["adminDisplayName"] == "Ana"
    assert logging.getLogger("livermore_dagster").level == logging.WARNING, "as her settings say"
    assert done(idle, "stop") == {"state": "idle"}
    for _ in range(2):
        assert done(idle, "start")["state"] == "starting"
        becomes(idle, InstanceState.ACTIVE)
        assert sockets(idle) == 1
        assert done(idle, "start")["note"] == "binance was started already."
        assert done(idle, "stop") == {"state": "idle"}
        assert status(idle)["connectionState"] == "idle"
        until(lambda: sockets(idle) == 0, SOON_S, "no socket")
    assert status(idle)["token"] == token
    with idle.redis() as client:
        wanted = read_desired_sync(client, IDS["binance"])
    assert wanted is not None
    assert (wanted.state, wanted.user) == ("idle", "root")


def test_pause_closes_everything_and_resume_repairs_first(idle: Platform) -> None:
    done(idle, "start")
    becomes(idle, InstanceState.ACTIVE)
    begun = idle.market_now("binance")
    until(lambda: idle.settled("binance") > begun + 2 * M1.ms, 60, "flows")
    assert done(idle, "pause") == {"state": "active", "paused": True}
    until(lambda: sockets(idle) == 0, SOON_S, "no socket")
    paused = idle.market_now("binance")
    until(lambda: status(idle)["paused"], SOON_S, "paused is shown")
    assert done(idle, "pause")["note"] == "binance was paused already."
    # Desired survives; and whatever closes now is nobody's.
    until(lambda: idle.market_now("binance") > paused + 4 * M1.ms, 60, "time passes")
    assert newest(idle, "BTCUSDT") < paused + M1.ms
    assert "repaired" in done(idle, "resume")
    until(lambda: not status(idle)["paused"], 60, "no longer paused")
    assert "was not paused" in done(idle, "resume")["note"]
    target = idle.market_now("binance") + 2 * M1.ms
    until(lambda: idle.settled("binance") >= target, 60, "settled again")
    idle.until_true("binance", [M1, M5], begun - 10 * M5.ms, target)
    assert idle.counters("binance").get("http_429", 0) == 0

    # During a repair, and during a warm-up: both last until they are broken off.
    done(idle, "stop")
    idle.fault("binance", kind="slow_reply", endpoint="candles", delay_s=2.0, duration_s=600)
    done(idle, "start", {"top": 20})
    becomes(idle, InstanceState.WARMING)
    assert done(idle, "pause")["paused"] is True
    assert idle.state("binance") == "active"
    until(lambda: sockets(idle) == 0, SOON_S, "no socket")
    assert done(idle, "resume")["repaired"] is False
    assert done(idle, "pause")["paused"] is True
    until(lambda: sockets(idle) == 0, SOON_S, "no socket")
    until(lambda: status(idle)["paused"], SOON_S, "paused is shown")
    assert "is resumed" in done(idle, "start")["note"]
    until(lambda: sockets(idle) == 1, SOON_S, "a socket again")


def test_symbols_come_and_go_while_it_runs(idle: Platform) -> None:
    done(idle, "start")
    becomes(idle, InstanceState.ACTIVE)
    first = idle.symbols("binance")
    other = next(
        one["symbol"]
        for one in idle.ask("binance", "symbols")
        if one["kind"] == "liquid" and one["symbol"].endswith("USDT") and one["symbol"] not in first
    )
    unknown = order(idle, "add-symbol", {"symbol": "NOPEUSDT"})
    assert (unknown.verdict, "NOPEUSDT" in unknown.words) == (Verdict.REFUSED, True)
    begun = idle.market_now("binance")
    added = done(idle, "add-symbol", {"symbol": other})
    assert added["outcomes"] == {other: "added"}
    assert idle.symbols("binance") == [*first, other]
    assert done(idle, "add-symbol", {"symbol": other}, sub="ana")["symbols"] == len(first) + 1
    target = idle.market_now("binance") + 3 * M1.ms
    until(lambda: idle.settled("binance") >= target, 60, "settled")
    until(lambda: newest(idle, other) >= target - M1.ms, SOON_S, "the new one closes")
    # No hole anywhere: not in what stayed, not in what came.
    idle.until_true("binance", [M1, M5], begun - 10 * M5.ms, target)
    with idle.redis() as client:
        values = keys.indicator(IDS["binance"], other, M1)
        until(lambda: bool(client.exists(values)), SOON_S, "the new one is computed")
    assert "removed_symbols" not in done(idle, "remove-symbol", {"symbol": other})  # ana wants it
    assert idle.symbols("binance") == [*first, other]
    gone = done(idle, "remove-symbol", {"symbol": other}, sub="ana")
    assert gone["removed_symbols"] == [other]
    assert idle.symbols("binance") == first
    with idle.redis() as client:
        assert not list(client.scan_iter(f"*:{other}*"))
    assert order(idle, "remove-symbol", {"symbol": other}).verdict is Verdict.REFUSED
    assert idle.counters("binance").get("http_429", 0) == 0

    # What the command line wishes is taken up as well.
    idle.want("binance", top=4)
    until(lambda: len(idle.symbols("binance")) == 4, 60, "four symbols")
    idle.want("binance", top=3)
    until(lambda: len(idle.symbols("binance")) == 3, 60, "three symbols")
    switched = done(idle, "switch-mode", {"mode": "position-monitor"})
    assert switched["symbols"] == 0
    until(lambda: status(idle)["mode"] == "position-monitor", SOON_S, "the mode is shown")
    assert done(idle, "switch-mode", {"mode": "scalper-macdv"})["symbols"] == 3
    assert done(idle, "reload-settings") == {"symbols": 3}
    # Signals only of the timeframes that somebody wants; candles of all.
    compute_only(idle, ["5m"])
    done(idle, "reload-settings")
    minutes, computed = keys.indicator(IDS["binance"], first[0], M1), keys.computed(IDS["binance"])
    with idle.redis() as client:
        assert client.hkeys(computed) == ["5m"]
        since = int(client.hget(computed, "5m") or 0)
        client.delete(minutes)
        stored = newest(idle, first[0])
        until(lambda: newest(idle, first[0]) >= stored + 2 * M1.ms, 60, "minutes close")
        assert not client.exists(minutes)
        compute_only(idle, ["1m"])
        until(lambda: bool(client.exists(minutes)), 60, "minutes are computed again")
        assert int(client.hget(computed, "1m") or 0) >= stored + 2 * M1.ms > since
    idle.want("binance", "idle", top=3)
    becomes(idle, InstanceState.IDLE, SOON_S)


def test_a_sender_hears_of_the_change_though_the_news_of_it_was_quicker(
    idle: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each instance also hears that settings have changed, and follows."""

    def outrun(name: str) -> None:
        change = getattr(commands, name)

        async def changed(*args: Any) -> Any:
            before = idle.symbols("binance")
            told = await change(*args)
            await asyncio.to_thread(until, lambda: idle.symbols("binance") != before, SOON_S, "followed")
            return told

        monkeypatch.setattr(commands, name, changed)

    done(idle, "start")
    becomes(idle, InstanceState.ACTIVE)
    first = idle.symbols("binance")
    listed = (one["symbol"] for one in idle.ask("binance", "symbols") if one["kind"] == "liquid")
    other = next(symbol for symbol in listed if symbol.endswith("USDT") and symbol not in first)
    outrun("add_symbols")
    outrun("remove_symbol")
    added = done(idle, "add-symbol", {"symbol": other})
    assert (added["added_symbols"], added["warm"]) == ([other], True)
    gone = done(idle, "remove-symbol", {"symbol": other})
    assert (gone["removed_symbols"], gone["symbols"]) == ([other], len(first))


def test_backfill_and_clearing_the_cache(idle: Platform) -> None:
    done(idle, "start")
    becomes(idle, InstanceState.ACTIVE)
    symbol = idle.symbols("binance")[0]
    since = idle.market_now("binance") - 1_200 * M1.ms
    told = done(idle, "force-backfill", {"symbols": [symbol], "timeframes": ["1m"], "sinceMs": since})
    assert told["stored"] >= 800
    assert order(idle, "force-backfill", {"symbols": ["NOPEUSDT"]}).verdict is Verdict.REFUSED
    refused = order(idle, "clear-cache", {"scope": "all"})
    assert (refused.verdict, "confirm" in refused.words) == (Verdict.REFUSED, True)
    done(idle, "pause")  # nothing else is asked meanwhile
    # Closes of before the pause may still raise alerts.
    until(lambda: idle.idle_consumers("binance"), 60, "consumed")
    asked = idle.ask("binance", "counters")["requests_by_endpoint"]["candles"]
    alerts = idle.query("SELECT id FROM alert_history ORDER BY id")
    other = keys.candles(IDS["binance"], idle.symbols("binance")[1], M5)
    with idle.redis() as client:
        kept = client.zrange(other, 0, -1)
        client.zremrangebyrank(keys.candles(IDS["binance"], symbol, M5), 0, 50)
    cleared = done(idle, "clear-cache", {"scope": "symbol", "symbol": symbol, "confirm": True})
    assert cleared["keys"] == len(Timeframe)
    with idle.redis() as client:
        assert client.zcard(keys.candles(IDS["binance"], symbol, M5)) >= 299
        assert client.zrange(other, 0, -1) == kept
    until(lambda: idle.idle_consumers("binance"), 60, "consumed")
    # Filled from PostgreSQL, and nothing was raised by it.
    assert idle.ask("binance", "counters")["requests_by_endpoint"]["candles"] == asked
    assert idle.query("SELECT id FROM alert_history ORDER BY id") == alerts
