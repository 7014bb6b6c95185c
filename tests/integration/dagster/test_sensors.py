"""Sensors on a real Valkey and real instances."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import dagster as dg
import pytest
import redis

from assets.ingest_job import ingest_job
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.definitions import defs
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.runs import cancel_runs
from livermore_dagster.resources import ACCOUNTS, PlatformResource
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.account_events import AccountEvent
from livermore_dagster.stores.redis.boundaries import raise_boundary
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice, write_desired_sync
from sensors import account_fills, candle_boundary
from sensors.account_fills import PAUSES_S, account_sensor
from sensors.candle_boundary import boundary_sensor
from sensors.ingest_keeper import keeper_sensor
from sensors.old_runs import forget_old_runs

B = 1_767_657_600_000
QUARTER = 900_000


def raise_now(url: str, exchange_id: int, boundary_ms: int, *timeframes: Timeframe) -> None:
    async def work() -> None:
        async with connect_async(url) as client:
            wall_ms = int(time.time() * 1000)
            assert await raise_boundary(client, exchange_id, boundary_ms, timeframes, [], [], wall_ms)

    asyncio.run(work())


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = sensor(context, platform=PlatformResource())
    assert isinstance(result, dg.SensorResult)
    return result


def test_an_event_during_the_wait_becomes_a_run_at_once_and_only_once(
    platform_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_boundary, "WAIT_MS", 60_000)
    with dg.DagsterInstance.ephemeral() as instance:
        later = threading.Timer(0.4, raise_now, (platform_environment, 1, B, Timeframe.M15, Timeframe.D1))
        begun = time.monotonic()
        later.start()
        result = tick(boundary_sensor, instance, None)
        assert time.monotonic() - begun < 45.0, "a tick without an event waits for a minute"
        assert [request.run_key for request in result.run_requests or []] == [f"coinbase:{B}"]
        assert json.loads(result.cursor or "")["1"] != "0"
        monkeypatch.setattr(candle_boundary, "WAIT_MS", 50)
        again = tick(boundary_sensor, instance, result.cursor)
        assert not again.run_requests
        assert again.skip_reason is not None
        assert "boundary" in str(again.skip_reason.skip_message)


def test_two_exchanges_share_a_tick_and_a_backlog_shares_a_run(platform_environment: str) -> None:
    raise_now(platform_environment, 1, B, Timeframe.M15, Timeframe.D1)
    raise_now(platform_environment, 1, B + QUARTER, Timeframe.M15)
    raise_now(platform_environment, 2, B + QUARTER, Timeframe.M15)
    with dg.DagsterInstance.ephemeral() as instance:
        result = tick(boundary_sensor, instance, None)
    requests = result.run_requests or []
    assert [request.run_key for request in requests] == [f"coinbase:{B + QUARTER}", f"binance:{B + QUARTER}"]
    assert requests[0].tags["livermore/due"] == "15m,1d"


def test_idle_exchanges_are_not_waited_for_and_one_that_runs_is(
    platform_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every exchange is registered from the start on: waiting for idle ones would delay each run."""
    monkeypatch.setattr(candle_boundary, "LINGER_S", 30.0)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        redis.Redis.from_url(platform_environment, decode_responses=True) as client,
    ):
        claims = [Claim(client, number, name) for number, name in ((1, "coinbase"), (4, "kraken"))]
        for claim in claims:
            claim.acquire()
        raise_now(platform_environment, 2, B, Timeframe.M15)
        begun = time.monotonic()
        result = tick(boundary_sensor, instance, None)
        assert time.monotonic() - begun < 15.0
        for state in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
            claims[0].advance(state)
        later = threading.Timer(0.2, raise_now, (platform_environment, 1, B + QUARTER, Timeframe.M15))
        raise_now(platform_environment, 2, B + QUARTER, Timeframe.M15)
        later.start()
        both = tick(boundary_sensor, instance, result.cursor)
        for claim in claims:
            claim.release()
    assert [one.partition_key for one in result.run_requests or []] == ["binance"]
    assert [one.partition_key for one in both.run_requests or []] == ["coinbase", "binance"]


def test_what_falls_due_while_a_run_has_not_ended_is_one_run_after_it(platform_environment: str) -> None:
    raise_now(platform_environment, 1, B, Timeframe.M15, Timeframe.D1)
    with dg.DagsterInstance.ephemeral() as instance:
        first = tick(boundary_sensor, instance, None)
        (request,) = first.run_requests or []
        tags = {**request.tags, "dagster/partition": "coinbase"}
        run = instance.add_run(dg.DagsterRun("boundary", tags=tags, status=dg.DagsterRunStatus.STARTED))
        for number in (1, 2):
            raise_now(platform_environment, 1, B + number * QUARTER, Timeframe.M15, Timeframe.H1)
        raise_now(platform_environment, 2, B + QUARTER, Timeframe.M15)
        second = tick(boundary_sensor, instance, first.cursor)
        assert [one.run_key for one in second.run_requests or []] == [f"binance:{B + QUARTER}"]
        instance.report_run_canceled(run)
        third = tick(boundary_sensor, instance, second.cursor)
        assert [one.run_key for one in third.run_requests or []] == [f"coinbase:{B + 2 * QUARTER}"]
        assert not tick(boundary_sensor, instance, third.cursor).run_requests


def test_a_run_that_never_begins_keeps_no_later_one_away(
    platform_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_now(platform_environment, 1, B, Timeframe.M15)
    with dg.DagsterInstance.ephemeral() as instance:
        for row in ROWS:
            tags = {"dagster-celery/queue": "boundary", "dagster/partition": row.name}
            instance.add_run(dg.DagsterRun("boundary", tags=tags))
        waiting = tick(boundary_sensor, instance, None)
        assert waiting.run_requests == []
        monkeypatch.setattr(candle_boundary, "NEVER_LONGER_S", 0)
        (request,) = tick(boundary_sensor, instance, waiting.cursor).run_requests or []
    assert request.run_key == f"coinbase:{B}"


def test_keeper_starts_with_a_new_key_and_backs_off(
    platform_environment: str, launcher_instance: dg.DagsterInstance
) -> None:
    with redis.Redis.from_url(platform_environment, decode_responses=True) as client:
        write_desired_sync(client, 2, Desired("running", SymbolChoice(top=8), "tester"))
    begun_ms = time.time_ns() // 1_000_000
    first = tick(keeper_sensor, launcher_instance, None)
    assert [request.partition_key for request in first.run_requests or []] == ["binance"]
    backoff = json.loads(first.cursor or "")
    assert backoff["binance"]["not_before_ms"] > begun_ms
    backoff["binance"]["not_before_ms"] += 60_000  # a busy machine needs more than the first wait's second
    waiting = tick(keeper_sensor, launcher_instance, json.dumps(backoff))
    assert not waiting.run_requests
    assert "waits" in str(waiting.skip_reason and waiting.skip_reason.skip_message)
    backoff["binance"]["not_before_ms"] = 0
    second = tick(keeper_sensor, launcher_instance, json.dumps(backoff))
    keys = [request.run_key for request in (*(first.run_requests or []), *(second.run_requests or []))]
    assert len(set(keys)) == 2


def test_keeper_leaves_a_living_instance_alone(
    platform_environment: str, launcher_instance: dg.DagsterInstance
) -> None:
    with redis.Redis.from_url(platform_environment, decode_responses=True) as client:
        write_desired_sync(client, 2, Desired("running", SymbolChoice(top=8), "tester"))
        claim = Claim(client, 2, "binance", run_id="x")
        claim.acquire()
        result = tick(keeper_sensor, launcher_instance, None)
        claim.release()
    assert not result.run_requests


def test_keeper_calls_off_what_shall_not_run(
    platform_environment: str, launcher_instance: dg.DagsterInstance
) -> None:
    with redis.Redis.from_url(platform_environment, decode_responses=True) as client:
        write_desired_sync(client, 2, Desired("stopped", SymbolChoice(top=8), "tester"))
    run = launcher_instance.create_run_for_job(ingest_job, tags={"dagster/partition": "binance"})
    result = tick(keeper_sensor, launcher_instance, None)
    assert not result.run_requests
    found = launcher_instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.CANCELED


def test_keeper_says_when_nobody_ever_started_anything(
    platform_environment: str, launcher_instance: dg.DagsterInstance
) -> None:
    result = tick(keeper_sensor, launcher_instance, None)
    assert "No exchange has been started" in str(result.skip_reason and result.skip_reason.skip_message)


def test_old_boundary_runs_are_forgotten_and_no_others(launcher_instance: dg.DagsterInstance) -> None:
    done = dg.DagsterRunStatus.SUCCESS
    boundary = {"dagster-celery/queue": "boundary"}
    launcher_instance.create_run_for_job(ingest_job, tags=boundary, status=done)
    kept = launcher_instance.create_run_for_job(
        ingest_job, tags={"dagster-celery/queue": "batch"}, status=done
    )
    assert forget_old_runs(launcher_instance, boundary) == 0
    assert forget_old_runs(launcher_instance, boundary, kept_days=-1) == 1
    assert [run.run_id for run in launcher_instance.get_runs()] == [kept.run_id]


def test_news_of_an_account_that_no_run_could_read_is_asked_for_again_and_then_given_up(
    platform_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_fills, "WAIT_MS", 1)
    key, stream = "binance.7", keys.account_events(2)
    entry = {"account_id": 7, "kind": "fill", "at_ms": 1, "symbol": "", "order_id": "", "fill_id": ""}
    with dg.DagsterInstance.ephemeral() as instance, redis.Redis.from_url(platform_environment) as client:

        def ended(status: dg.DagsterRunStatus) -> None:
            instance.create_run_for_job(ingest_job, tags={account_fills.ACCOUNT_TAG: key}, status=status)

        def asked(cursor: str | None) -> account_fills.Asked:
            return account_fills.AccountCursor.parse(cursor).asked[key]

        def pause_over(cursor: str | None) -> str:
            known = account_fills.AccountCursor.parse(cursor)
            known.asked[key].again_ms = 1
            return known.text()

        client.xadd(stream, entry)
        now = tick(account_sensor, instance, None)
        run_keys = [one.run_key for one in now.run_requests or []]
        for seconds in PAUSES_S:
            ended(dg.DagsterRunStatus.FAILURE)
            begun_ms = time.time_ns() // 1_000_000
            now = tick(account_sensor, instance, now.cursor)
            assert not now.run_requests
            assert f"should read {key} failed" in str(now.skip_reason)
            again_ms = asked(now.cursor).again_ms
            assert again_ms is not None
            assert 0 <= again_ms - begun_ms - seconds * 1000 < 30_000
            assert not tick(account_sensor, instance, now.cursor).run_requests, "the pause is not over"
            now = tick(account_sensor, instance, pause_over(now.cursor))
            run_keys += [one.run_key for one in now.run_requests or []]
        assert len(set(run_keys)) == len(run_keys) == len(PAUSES_S), "Dagster takes a run key once"
        assert f"{len(PAUSES_S)} runs could not read {key}" in str(now.skip_reason)
        told = [one for one in client.xrange(keys.INCIDENTS) if one[1][b"name"] == b"account_unread"]
        assert len(told) == 1
        assert not tick(account_sensor, instance, now.cursor).run_requests

        client.xadd(stream, entry)
        now = tick(account_sensor, instance, now.cursor)
        assert len(now.run_requests or []) == 1
        assert (asked(now.cursor).tries, asked(now.cursor).given_up) == (1, False)
        ended(dg.DagsterRunStatus.FAILURE)
        now = tick(account_sensor, instance, now.cursor)
        ended(dg.DagsterRunStatus.SUCCESS)  # Dagster's own retry of it
        now = tick(account_sensor, instance, now.cursor)
        assert not now.run_requests
        assert key not in account_fills.AccountCursor.parse(now.cursor).asked


def test_dagster_repeats_an_account_whose_worker_died_and_not_one_that_could_not_be_read(
    platform_environment: str,
) -> None:
    event = AccountEvent(2, 7, "fill", 1, entry_id="1-0")
    tags = account_fills.run_request("binance.7", account_fills.Asked(event)).tags
    job = defs.get_repository_def().get_implicit_global_asset_job_def()
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True, "max_retries": 0}}) as instance:
        instance.add_dynamic_partitions(ACCOUNTS.name or "", ["nobody"])
        refused = job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("fills")], partition_key="nobody", tags=tags,
            raise_on_error=False,
        )  # fmt: skip
        died = instance.create_run_for_job(ingest_job, tags=tags, status=dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(died, "Its worker is gone.")
        runs = [instance.get_run_by_id(run_id) for run_id in (refused.run_id, died.run_id)]
    told = [(run.status, run.tags["dagster/will_retry"]) for run in runs if run is not None]
    assert told == [(dg.DagsterRunStatus.FAILURE, "false"), (dg.DagsterRunStatus.FAILURE, "true")]


def test_an_account_whose_read_the_platform_ended_is_read_again_and_one_a_person_canceled_is_not(
    platform_environment: str, launcher_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_fills, "WAIT_MS", 1)
    key = "binance.7"
    entry = {"account_id": 7, "kind": "added", "at_ms": 1, "symbol": "", "order_id": "", "fill_id": ""}
    with redis.Redis.from_url(platform_environment) as client:
        client.xadd(keys.account_events(2), entry)
    now = tick(account_sensor, launcher_instance, None)
    run_keys = [one.run_key for one in now.run_requests or []]
    for _ in range(len(PAUSES_S) + 1):
        launcher_instance.create_run_for_job(ingest_job, tags={account_fills.ACCOUNT_TAG: key})
        cancel_runs(launcher_instance, timeout=0.0)
        now = tick(account_sensor, launcher_instance, now.cursor)
        run_keys += [one.run_key for one in now.run_requests or []]
    assert len(set(run_keys)) == len(run_keys) == len(PAUSES_S) + 2, (
        "at once, under a new key, as often as it is"
    )
    canceled = dg.DagsterRunStatus.CANCELED
    launcher_instance.create_run_for_job(ingest_job, tags={account_fills.ACCOUNT_TAG: key}, status=canceled)
    now = tick(account_sensor, launcher_instance, now.cursor)
    assert not now.run_requests
    assert key not in account_fills.AccountCursor.parse(now.cursor).asked
