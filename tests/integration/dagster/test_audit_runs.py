"""The hourly audit is a run of its own: no boundary waits for it, and no hour goes without."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import dagster as dg
import pytest

from livermore_dagster.audit.hourly import due_from
from livermore_dagster.definitions import defs
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.resources import PlatformResource
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.boundaries import begin, finish, raise_boundary
from livermore_dagster.stores.redis.client import connect, connect_async
from sensors import boundary_events, candle_audit, candle_boundary
from tests.integration.dagster.test_assets import START_MS, SYMBOLS
from tests.integration.ingest.played import IDS, Platform, played

COINBASE, BINANCE = IDS["coinbase"], IDS["binance"]
M5, M15, H1 = Timeframe.M5, Timeframe.M15, Timeframe.H1
HOUR_MS = H1.open_of(START_MS)
"""The newest full hour of the played market."""
KILLED = """
import json, os, signal, sys
import dagster as dg
from livermore_dagster.audit import exchange_candles
from livermore_dagster.definitions import defs
from livermore_dagster.stores.redis import audits
audits.LEASE_S = 1.0
compare, compared = exchange_candles._compare, []
async def die_at_the_second(*given):
    await compare(*given)
    compared.append(given)
    if len(compared) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
exchange_candles._compare = die_at_the_second
job = defs.get_repository_def().get_job("audit")
check = dg.AssetCheckKey(dg.AssetKey(["candles", "5m"]), "matches_exchange_coinbase")
with dg.DagsterInstance.get() as instance:
    job = job.get_subset(asset_check_selection={check})
    job.execute_in_process(instance=instance, tags=json.loads(sys.argv[1]))
"""


@pytest.fixture
def market(stored_instance: dg.DagsterInstance, redis_url: str, database_url: str) -> Iterator[Platform]:
    """Coinbase, whose 5m are streamed and stored up to now."""
    with played(redis_url, database_url, ["coinbase"], 1.0, START_MS) as platform:
        platform.want("coinbase", "stopped", top=SYMBOLS)
        by_hand = dg.RunRequest(
            job_name="__ASSET_JOB",
            asset_selection=[dg.AssetKey(["candles", "5m"])],
            tags={"dagster/partition": "coinbase"},
        )
        assert execute(stored_instance, by_hand).success
        yield platform


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candle_audit, "WAIT_MS", 1)
    monkeypatch.setattr(candle_boundary, "WAIT_MS", 1)


def raise_at(url: str, exchange_id: int, boundary_ms: int, *timeframes: Timeframe, brought: bool) -> None:
    async def work() -> None:
        async with connect_async(url) as client:
            wall_ms = time.time_ns() // 1_000_000
            assert await raise_boundary(client, exchange_id, boundary_ms, timeframes, [], [], wall_ms)
            if brought:
                assert await begin(client, exchange_id, boundary_ms, "live")
                assert await finish(client, exchange_id, boundary_ms, "live")

    asyncio.run(work())


def tick(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[list[dg.RunRequest], str, str]:
    """Its run requests as the daemon gets them, its cursor, and why there are none."""
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        repository_def=defs.get_repository_def(),
        resources={"platform": PlatformResource()},
    )
    found = sensor.evaluate_tick(context)
    return list(found.run_requests or ()), found.cursor or "", found.skip_message or ""


def execute(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    repository = defs.get_repository_def()
    job = repository.get_job(request.job_name or "audit").get_subset(
        asset_selection=set(request.asset_selection or ()),
        asset_check_selection=set(request.asset_check_keys or ()),
    )
    return job.execute_in_process(instance=instance, tags=request.tags, raise_on_error=False)


def audits_in(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    found = [one for one in result.get_asset_check_evaluations() if "matches_exchange" in one.check_name]
    return {one.asset_key.to_user_string(): one for one in found}


def mark(market: Platform, timeframe: Timeframe = M5) -> int:
    with market.redis() as client:
        return int(client.hget(keys.audited(COINBASE), timeframe.value) or 0)


def tamper(market: Platform, open_ms: int) -> str:
    symbol = market.symbols("coinbase")[0]
    with market.redis() as client:
        client.zremrangebyscore(keys.candles(COINBASE, symbol, M5), open_ms, open_ms)
    market.execute(
        "UPDATE candles SET close = high + 1 WHERE symbol = %s AND timeframe = '5m' AND open_ms = %s",
        symbol,
        open_ms,
    )
    return symbol


def newest_opens(boundary_ms: int) -> int:
    return M5.open_of(boundary_ms) - M5.ms


def test_a_full_hours_boundary_ends_without_the_audit_and_the_audit_follows(
    stored_instance: dg.DagsterInstance, market: Platform
) -> None:
    symbol = tamper(market, HOUR_MS - 4 * M5.ms)
    raise_at(market.redis_url, COINBASE, HOUR_MS, M15, H1, brought=False)
    audits, audited, why = tick(candle_audit.audit_sensor, stored_instance, None)
    assert audits == []
    assert "awaited" in why
    [boundary], _, _ = tick(candle_boundary.boundary_sensor, stored_instance, None)
    assert boundary.run_key == f"coinbase:{HOUR_MS}"
    ended = execute(stored_instance, boundary)
    assert ended.success
    assert audits_in(ended) == {}
    wrong = "SELECT count(*) FROM candles WHERE close > high"
    assert market.query(wrong) == [(1,)], "nobody asked the exchange for streamed candles yet"

    [audit], audited, _ = tick(candle_audit.audit_sensor, stored_instance, audited)
    assert audit.run_key == f"audit:coinbase:{HOUR_MS}"
    found = audits_in(execute(stored_instance, audit))
    told = found["candles/5m"].metadata
    assert not found["candles/5m"].passed
    assert [row.data["symbol"] for row in told["first 50"].records] == [symbol]
    assert told["requests used"].value == SYMBOLS
    assert (told["candles that differed"].value, told["now repaired"].value) == (1, 1)
    assert market.query(wrong) == [(0,)]
    assert mark(market) == newest_opens(HOUR_MS)
    assert tick(candle_audit.audit_sensor, stored_instance, audited)[0] == []


def test_an_audit_that_was_killed_is_made_up_by_the_next(
    stored_instance: dg.DagsterInstance, market: Platform
) -> None:
    first_ms = HOUR_MS - 2 * H1.ms
    tamper(market, first_ms - 4 * M5.ms)
    raise_at(market.redis_url, COINBASE, first_ms, M15, H1, brought=True)
    [audit], cursor, _ = tick(candle_audit.audit_sensor, stored_instance, None)
    killed = subprocess.run([sys.executable, "-c", KILLED, json.dumps(audit.tags)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert mark(market) == due_from(M5, first_ms), "of what was compared, nothing counts"

    raise_at(market.redis_url, COINBASE, HOUR_MS - H1.ms, M15, H1, brought=True)
    audits, cursor, why = tick(candle_audit.audit_sensor, stored_instance, cursor)
    assert audits == []
    assert "under way; that of coinbase waits" in why
    raise_at(market.redis_url, COINBASE, HOUR_MS, M15, H1, brought=True)
    [run] = stored_instance.get_runs(dg.RunsFilter(job_name="audit"))
    stored_instance.report_run_failed(run, "Its worker is gone.")

    tamper(market, first_ms - 3 * M5.ms)
    [audit], cursor, _ = tick(candle_audit.audit_sensor, stored_instance, cursor)
    assert audit.run_key == f"audit:coinbase:{HOUR_MS}", "the hours that waited are one audit"
    assert audits_in(execute(stored_instance, audit))["candles/5m"].metadata["requests used"].value == SYMBOLS
    assert market.query("SELECT count(*) FROM candles WHERE close > high") == [(0,)]
    assert mark(market) == newest_opens(HOUR_MS)


def test_an_hour_whose_run_never_began_is_owed_all_the_same(
    stored_instance: dg.DagsterInstance, market: Platform
) -> None:
    """The first of all: no completed audit says where the next one shall begin."""
    first_ms = HOUR_MS - 2 * H1.ms
    raise_at(market.redis_url, COINBASE, first_ms, M15, H1, brought=True)
    [lost], cursor, _ = tick(candle_audit.audit_sensor, stored_instance, None)
    assert lost.run_key == f"audit:coinbase:{first_ms}"
    assert mark(market) == due_from(M5, first_ms)
    tamper(market, first_ms - 4 * M5.ms)
    raise_at(market.redis_url, COINBASE, HOUR_MS, M15, H1, brought=True)
    [audit], _, _ = tick(candle_audit.audit_sensor, stored_instance, cursor)
    assert audits_in(execute(stored_instance, audit))["candles/5m"].metadata["now repaired"].value == 1


def test_hours_that_nobody_heard_are_owed_from_the_oldest_on(
    platform_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One exchange at a time, the one that has waited longest first; what no audit is due for is passed."""
    url = platform_environment
    raise_at(url, COINBASE, HOUR_MS - 2 * H1.ms, M15, H1, brought=True)
    raise_at(url, BINANCE, HOUR_MS - H1.ms, M15, H1, brought=True)
    raise_at(url, COINBASE, HOUR_MS, M15, H1, brought=True)
    raise_at(url, BINANCE, HOUR_MS, M15, H1, brought=False)
    with dg.DagsterInstance.ephemeral() as instance:
        [first], cursor, _ = tick(candle_audit.audit_sensor, instance, None)
        [second], cursor, _ = tick(candle_audit.audit_sensor, instance, cursor)
        none, cursor, _ = tick(candle_audit.audit_sensor, instance, cursor)
        assert [first.run_key, second.run_key] == [
            f"audit:coinbase:{HOUR_MS}",
            f"audit:binance:{HOUR_MS - H1.ms}",
        ]
        assert none == [], "what Binance closed at the hour is not there yet"
        raise_at(url, BINANCE, HOUR_MS + M15.ms, M15, brought=True)
        [third], cursor, _ = tick(candle_audit.audit_sensor, instance, cursor)
        assert third.run_key == f"audit:binance:{HOUR_MS + M15.ms}", "a later fetch brought the hour's too"
        raise_at(url, BINANCE, HOUR_MS + 2 * M15.ms, M15, brought=True)
        none, cursor, why = tick(candle_audit.audit_sensor, instance, cursor)
        assert none == []
        _, _, why = tick(candle_audit.audit_sensor, instance, cursor)
        assert "No exchange's clock reached a boundary" in why, "a quarter of an hour is no audit's"
    with connect(url) as client:
        held = client.hgetall(keys.audited(COINBASE))
    assert held == {"5m": str(due_from(M5, HOUR_MS - 2 * H1.ms))}
    assert boundary_events.read_cursor(cursor)[BINANCE] != "0"


def test_a_sensor_that_has_weeks_to_read_audits_up_to_now_at_once(
    platform_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_audit, "EVENTS_A_READ", 2)
    for hours in (4, 3, 2, 1, 0):
        raise_at(platform_environment, COINBASE, HOUR_MS - hours * H1.ms, M15, H1, brought=hours == 0)
    found, cursor = list[dg.RunRequest](), ""
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(4):
            requests, cursor, _ = tick(candle_audit.audit_sensor, instance, cursor)
            found += requests
    assert [one.run_key for one in found] == [f"audit:coinbase:{HOUR_MS}"]
    with connect(platform_environment) as client:
        owed = client.hget(keys.audited(COINBASE), "5m")
    assert owed == str(due_from(M5, HOUR_MS - 4 * H1.ms))
