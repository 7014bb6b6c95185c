"""The whole live service against simulated exchanges: real sockets, Valkey and PostgreSQL, at 60 times."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from livermore_dagster.control.claim import Claim
from livermore_dagster.control.registry import read_instance
from livermore_dagster.control.states import InstanceState
from livermore_dagster.errors import (
    ClaimConflict,
    InactiveExchange,
    ProvenanceMismatch,
    UnknownExchange,
    UnknownSymbol,
)
from livermore_dagster.ingest import session, timekeeper
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.fetch import fetch_due
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.market.candle import Rank
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import boundaries, keys
from livermore_dagster.stores.redis.desired import (
    Desired,
    SymbolChoice,
    read_desired_sync,
    write_desired_sync,
)
from tests.integration.ingest.commanding import status
from tests.integration.ingest.played import IDS, Platform, Subscriber, played, until

SPEED = 60.0
START_MS = 1_767_655_800_000  # 2026-01-05T23:30:00Z: midnight with all timeframes is near
M1, M5 = Timeframe.M1, Timeframe.M5
STOP_S = 60.0
"""Where it is not the stop that is looked at."""


@pytest.fixture
def binance(redis_url, database_url):
    with played(redis_url, database_url, ["binance"], SPEED, START_MS) as platform:
        yield platform


@pytest.fixture
def coinbase(redis_url, database_url):
    with played(redis_url, database_url, ["coinbase"], SPEED, START_MS) as platform:
        yield platform


def service_of(platform: Platform, exchange: str) -> IngestService:
    return IngestService(platform, exchange, provenance=platform.provenance)


def run_until_settled(platform: Platform, exchange: str, market_ms: int, seconds: float = 120) -> None:
    until(lambda: platform.settled(exchange) >= market_ms, seconds, f"{exchange} settled to {market_ms}")


@pytest.mark.soak  # the fault matrix strikes the same, act by act
def test_binance_candles_equal_the_truth_through_every_fault(binance: Platform) -> None:
    binance.want("binance", top=8)
    service = service_of(binance, "binance")
    service.start()
    try:
        assert service.wait_for_state(InstanceState.ACTIVE, 120)
        begun = binance.market_now("binance")
        for order in (
            {"kind": "duplicate", "duration_s": 4},
            {"kind": "reorder", "duration_s": 4, "after_s": 4},
            {"kind": "drop", "after_s": 9},
            {"kind": "stall", "after_s": 12, "duration_s": 6},
            {"kind": "drop", "after_s": 24},
        ):
            binance.fault("binance", **order)
        target, from_ms = begun + 30 * 60_000, begun - 30 * 60_000
        run_until_settled(binance, "binance", target)
        binance.until_true("binance", [M1, M5, Timeframe.M15, Timeframe.H1], from_ms, target)
    finally:
        assert service.stop(STOP_S)
    assert service.error is None
    assert binance.state("binance") == "none"
    assert binance.differences("binance", [M1, M5, Timeframe.M15, Timeframe.H1], from_ms, target) == []
    counters = binance.counters("binance")
    assert counters.get("http_429", 0) == counters.get("http_418", 0) == 0
    assert counters["reconnects"] >= 2


@pytest.mark.soak  # the store writer's own test tells the same of its part
def test_what_a_boundary_run_got_early_is_confirmed_by_the_live_service(coinbase: Platform) -> None:
    """The run is another process: only the closes tell the live service of its rows."""
    coinbase.want("coinbase", top=2)
    service = service_of(coinbase, "coinbase")
    service.start()
    try:
        assert service.wait_for_state(InstanceState.ACTIVE, 120)
        asyncio.run(_fetch_a_boundary(coinbase))
    finally:
        assert service.stop(STOP_S)


async def _fetch_a_boundary(coinbase: Platform) -> None:
    """What a run does at the next one, and what becomes of the rows it got."""
    symbols, hour = coinbase.symbols("coinbase"), Timeframe.H1
    async with open_context("coinbase", coinbase) as ctx:
        boundary = begun = await boundaries.last_raised(ctx.redis, ctx.row.id) or 0
        async with asyncio.timeout(90):
            while boundary == begun or boundary % hour.ms:
                await asyncio.sleep(0.05)
                boundary = await boundaries.last_raised(ctx.redis, ctx.row.id) or 0
        assert await boundaries.begin(ctx.redis, ctx.row.id, boundary, "run")
        report = await fetch_due(ctx, boundary, [hour], symbols)
        assert report.count("closed") == len(symbols)
        await boundaries.finish(ctx.redis, ctx.row.id, boundary, "run")
        async with asyncio.timeout(8):  # before another boundary looks back at them
            for symbol in symbols:
                while (await ctx.cache.read(symbol, hour, 1))[0].rank is not Rank.SETTLED:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


@pytest.mark.soak  # with its true waits; the fault matrix falls back at every boundary
def test_coinbase_fetches_its_boundaries_itself_when_nobody_does(coinbase: Platform) -> None:
    coinbase.want("coinbase", top=6)
    service = service_of(coinbase, "coinbase")
    service.start()
    try:
        assert service.wait_for_state(InstanceState.ACTIVE, 120)
        begun = coinbase.market_now("coinbase")
        coinbase.fault("coinbase", kind="lose", count=3, after_s=5)
        coinbase.fault("coinbase", kind="drop", after_s=12)
        target = begun + 34 * 60_000
        run_until_settled(coinbase, "coinbase", target)
        boundary = target - target % Timeframe.M15.ms

        def handled() -> bool:
            with coinbase.redis() as client:
                done = client.hgetall(keys.boundary_done(IDS["coinbase"]))
            return any(int(at) >= boundary and '"finished"' in text for at, text in done.items())

        until(handled, 60, f"boundary {boundary} handled")
        from_ms = begun - 60 * 60_000
        slow = [Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1]
        coinbase.until_true("coinbase", [M5], from_ms, target)
        coinbase.until_true("coinbase", slow, from_ms, boundary)
    finally:
        assert service.stop(STOP_S)
    assert coinbase.differences("coinbase", [M5], from_ms, target) == []
    assert coinbase.differences("coinbase", slow, from_ms, boundary) == []
    counters = coinbase.counters("coinbase")
    assert counters["fallback_fetches"] >= 1
    assert counters.get("http_429", 0) == 0
    with coinbase.redis() as client:
        entries = client.xrange(keys.boundaries(IDS["coinbase"]))
    raised = [int(fields["b"]) for _, fields in entries]
    assert raised == sorted(set(raised))


def test_what_cannot_be_had_is_given_up_in_words(redis_url, database_url) -> None:
    with played(redis_url, database_url, ["binance"], 1.0, START_MS) as market:
        wanted = SymbolChoice(listed=("BTCUSDT", "NOSUCHUSDT"))
        with market.redis() as client:
            write_desired_sync(client, IDS["binance"], Desired("running", wanted, "tester"))
        service = service_of(market, "binance")
        with suppress(UnknownSymbol):  # the start may be reported before the symbols are looked at
            service.start()
        assert service.wait(60)
        assert isinstance(service.error, UnknownSymbol)
        with market.redis() as client:
            left = read_desired_sync(client, IDS["binance"])
            known = read_instance(client, IDS["binance"], "binance")
        assert left is not None
        assert (left.state, left.symbols, left.user) == ("idle", wanted, "tester")
        assert "NOSUCHUSDT" in left.reason
        assert known.last_known is not None
        assert known.last_known.last_error == left.reason


def test_a_restart_asks_for_nothing_it_has(redis_url, database_url, monkeypatch) -> None:
    # Frames may be late on a machine that stands still: it asks REST for no time meanwhile.
    monkeypatch.setattr(timekeeper, "_REST_CLOCK_S", 3_600.0)
    monkeypatch.setattr(session, "_FIRST_TIME_S", 60.0)
    with played(redis_url, database_url, ["binance"], 1.0, START_MS + 3_000) as market:
        market.want("binance", top=5)
        first = service_of(market, "binance")
        first.start()
        assert first.wait_for_state(InstanceState.ACTIVE, 120)
        assert first.stop(STOP_S)
        stopped = market.market_now("binance")
        asked = market.ask("binance", "counters")["requests_by_endpoint"]
        assert asked["candles"] >= 5 * 6
        second = service_of(market, "binance")
        second.start()
        assert second.wait_for_state(InstanceState.ACTIVE, 120)

        def stored() -> bool:
            return market.differences("binance", [M1, M5], stopped - 30 * M1.ms, stopped - M1.ms) == []

        # The closes stream keeps what was not yet stored when the first was stopped.
        until(stored, 60, "what the first had read is stored")
        assert second.stop(STOP_S)
        again = market.ask("binance", "counters")["requests_by_endpoint"]
        if market.market_now("binance") // M1.ms == stopped // M1.ms:
            assert again == asked
        else:  # a minute closed meanwhile: one request for each symbol's new candle, products not again
            assert again.get("products") == asked.get("products")
            assert again["candles"] - asked["candles"] <= 2 * 5


def pause(platform: Platform) -> None:
    """Until all it has read is stored, judged and published."""
    with platform.redis() as client:
        desired = read_desired_sync(client, IDS["binance"])
        assert desired is not None
        write_desired_sync(client, IDS["binance"], replace(desired, paused=True))

    def quiet() -> bool:
        return (
            status(platform)["paused"]
            and platform.idle_consumers("binance")
            and platform.query("SELECT count(*) FROM alert_history WHERE published_ms IS NULL") == [(0,)]
        )

    until(quiet, 60, "paused, and nothing left to do")


def test_killed_in_mid_flow_and_started_again(binance: Platform) -> None:
    binance.want("binance", top=6)
    command = [sys.executable, "-m", "livermore_dagster.ingest", "binance"]
    heard = Subscriber(binance, keys.channel_alerts(IDS["binance"]))
    first = subprocess.Popen(command, env=binance.environment())
    until(lambda: binance.state("binance") == "active", 60, "active")
    begun = binance.market_now("binance")
    run_until_settled(binance, "binance", begun + 5 * 60_000)
    first.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    again = time.monotonic()
    second = subprocess.Popen(command, env=binance.environment())
    try:
        until(lambda: binance.state("binance") == "active", 60, "active again")
        assert time.monotonic() - again < 60
        target = binance.market_now("binance") + 6 * 60_000
        run_until_settled(binance, "binance", target)

        frames, from_ms = [M1, M5, Timeframe.M15], begun - 30 * 60_000
        binance.until_true("binance", frames, from_ms, target)
        # An end leaves what its short time does not reach to the next start: here there is none.
        pause(binance)
        second.terminate()
        assert second.wait(STOP_S) == 0
    finally:
        first.wait(60)
        second.kill()
        second.wait()
    assert binance.differences("binance", frames, from_ms, target) == []
    # Every alert stored once has left; what the kill made leave twice says so by its attempt.
    stored = {row[0] for row in binance.query("SELECT id FROM alert_history")}
    until(lambda: {alert["id"] for alert in heard.messages} >= stored, 30, "all alerts heard")
    heard.close()
    assert {alert["id"] for alert in heard.messages} == stored
    attempts = [(alert["id"], alert["attempt"]) for alert in heard.messages]
    assert len(attempts) == len(set(attempts))
    assert binance.query("SELECT count(*) FROM alert_history WHERE published_ms IS NULL") == [(0,)]


def test_desired_state_stops_it_within_three_seconds(binance: Platform) -> None:
    for _ in range(3):  # in one of them the machine is not busy with something else
        binance.want("binance", top=3)
        service = service_of(binance, "binance")
        service.start()
        assert service.wait_for_state(InstanceState.ACTIVE, 120)
        with pytest.raises(ClaimConflict, match="binance is held by"):
            service_of(binance, "binance").start()
        binance.want("binance", "stopped", top=3)
        in_time = service.wait(3.5)
        assert service.wait(STOP_S)
        if in_time:
            break
    assert in_time
    assert service.error is None
    assert service.state is InstanceState.STOPPED
    assert binance.state("binance") == "none"


def test_a_lost_claim_ends_it_and_is_left_alone(binance: Platform) -> None:
    binance.want("binance", top=3)
    service = service_of(binance, "binance")
    service.start()
    assert service.wait_for_state(InstanceState.ACTIVE, 120)
    with binance.redis() as client:
        key = keys.status(IDS["binance"])
        client.set(key, str(client.get(key)).replace('"token":"', '"token":"not'), keepttl=True)
        theirs = client.get(key)
        assert service.wait(60)
        assert "lost" in str(service.error)
        assert client.get(key) == theirs


def test_a_stop_is_heard_while_an_overdue_holder_is_waited_for(binance: Platform) -> None:
    key = keys.status(IDS["binance"])
    with binance.redis() as client:
        holder = Claim(client, IDS["binance"], "binance")
        holder.acquire()
        command = [sys.executable, "-m", "livermore_dagster.ingest", "binance"]
        waiting = subprocess.Popen(command, env=binance.environment(), stderr=subprocess.PIPE, text=True)
        try:
            assert waiting.stderr is not None

            def held() -> bool:
                """However long it takes: the holder is overdue, and holds."""
                return bool(client.pexpire(key, 25_000))

            def waits() -> bool:
                assert held()
                return bool(psutil.Process(waiting.pid).children())

            # Its ears have grown: next it asks for the claim.
            until(waits, 60, "it waits for the claim")
            waiting.terminate()
            until(lambda: held() and waiting.poll() is not None, STOP_S, "it has ended")
            assert waiting.returncode == 0, waiting.stderr.read()
        finally:
            waiting.kill()
            waiting.wait()
        assert str(client.get(key)).find(holder.status.token) > 0
        holder.release()


def test_a_start_that_cannot_be_leaves_nothing_behind(binance: Platform) -> None:
    for name, error in (("nowhere", UnknownExchange), ("kraken", InactiveExchange)):
        with pytest.raises(error, match=name):
            service_of(binance, name).start()
    service_of(binance, "binance")
    binance.want("binance", top=3)
    binance.fault("binance", kind="error_page", duration_s=300)
    binance.fault("binance", kind="refuse_connection", duration_s=300)
    service = service_of(binance, "binance")
    service.start()
    assert service.wait(90)
    assert service.error is not None
    assert binance.state("binance") == "none"
    with pytest.raises(ProvenanceMismatch):
        IngestService(binance, "binance", provenance="live").start()
