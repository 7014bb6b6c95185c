"""What a boundary event asks Dagster to run."""

from __future__ import annotations

import dagster as dg

from assets import boundary_lease
from assets.boundary_lease import due_in
from livermore_dagster.definitions import defs
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.resources import DUE_TAG
from livermore_dagster.stores.redis.boundaries import BoundaryEvent
from sensors import candle_audit
from sensors.boundary_events import union
from sensors.candle_audit import audited_timeframes
from sensors.candle_boundary import run_request

HOUR = 3_600_000
B = 1_767_657_600_000  # 2026-01-06T00:00:00Z


def event(exchange_id: int, boundary_ms: int, *timeframes: Timeframe, entry: str = "1-0") -> BoundaryEvent:
    return BoundaryEvent(exchange_id, entry, boundary_ms, timeframes, (), (), 1_000)


def test_one_run_per_exchange_and_boundary_selects_every_layer_of_the_due_timeframes() -> None:
    request = run_request(event(1, B + 900_000, Timeframe.M15))
    assert request is not None
    assert request.run_key == f"coinbase:{B + 900_000}"
    assert request.partition_key == "coinbase"
    assert [key.to_user_string() for key in request.asset_selection or []] == [
        "candles/15m",
        "macdv/15m",
        "indicators/15m",
    ]
    assert request.tags["dagster-celery/queue"] == "boundary"
    assert request.tags["dagster/max_runtime"] == "300"
    assert int(request.tags["dagster/max_retries"]) > 0


def test_checks_are_those_of_the_exchange_and_cost_no_request() -> None:
    request = run_request(event(2, B + 900_000, Timeframe.M15))
    assert request is not None
    names = {f"{key.asset_key.to_user_string()}:{key.name}" for key in request.asset_check_keys or []}
    assert names == {
        "candles/15m:no_gaps_binance",
        "candles/15m:sane_binance",
        "candles/15m:fresh_binance",
        "macdv/15m:live_equals_batch_binance",
    }


def test_at_the_hour_what_no_boundary_is_due_for_is_judged_too_and_the_audit_is_a_run_of_its_own() -> None:
    hour = event(1, B + HOUR, Timeframe.M15, Timeframe.H1)
    request = run_request(hour)
    assert request is not None
    names = {f"{key.asset_key.to_user_string()}:{key.name}" for key in request.asset_check_keys or []}
    assert {name for name in names if "/5m:" in name} == {
        "candles/5m:no_gaps_coinbase",
        "candles/5m:sane_coinbase",
        "candles/5m:fresh_coinbase",
        "macdv/5m:live_equals_batch_coinbase",
    }
    assert not any("/1m:" in name for name in names), "Coinbase does not stream it"
    assert not any("matches_exchange" in name for name in names), (
        "who waits for a boundary waits for no audit"
    )
    audit = candle_audit.run_request(hour)
    assert audit.run_key == f"audit:coinbase:{B + HOUR}"
    assert audit.tags == {"dagster/partition": "coinbase", "livermore/boundary_ms": str(B + HOUR)}
    assert [f"{key.asset_key.to_user_string()}:{key.name}" for key in audit.asset_check_keys or []] == [
        "candles/5m:matches_exchange_coinbase"
    ]


def test_an_hour_whose_boundary_nobody_saw_is_audited_at_the_next() -> None:
    both = [event(2, B + HOUR, Timeframe.M15, Timeframe.H1), event(2, B + HOUR + 900_000, Timeframe.M15)]
    wanted = [Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.H1]
    assert [audited_timeframes(one) for one in union(both)] == [wanted]
    # As the live service raises it when it was away over the hour itself.
    late = event(2, B + HOUR + 900_000, Timeframe.M15, Timeframe.H1)
    assert audited_timeframes(late) == wanted
    assert audited_timeframes(event(2, B + HOUR + 900_000, Timeframe.M15)) == []


def test_audits_wait_in_no_queue_that_boundaries_wait_in() -> None:
    job = defs.get_repository_def().get_job("audit")
    assert job.tags["dagster-celery/queue"] == "batch"
    assert int(job.tags["dagster/max_runtime"]) > 600, "a boundary run's limit would cut long lists"


def test_what_is_too_old_leaves_when_a_day_ends() -> None:
    hour = run_request(event(1, B + HOUR, Timeframe.M15, Timeframe.H1))
    day = run_request(event(1, B, Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1))
    assert hour is not None
    assert day is not None
    names = [{key.to_user_string() for key in one.asset_selection or []} for one in (hour, day)]
    assert ["retention" in found for found in names] == [False, True]


def test_nothing_due_is_no_run() -> None:
    assert run_request(event(1, B)) is None


def test_a_backlog_becomes_one_event_with_all_its_timeframes() -> None:
    merged = union(
        [
            event(1, B + 2 * HOUR, Timeframe.M15, Timeframe.H1, entry="3-0"),
            event(1, B, Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1, entry="1-0"),
            event(2, B, Timeframe.M15, entry="1-0"),
        ]
    )
    assert [(one.exchange_id, one.boundary_ms) for one in merged] == [(1, B + 2 * HOUR), (2, B)]
    assert merged[0].timeframes == (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)


def test_a_retry_is_through_when_what_it_repeats_is() -> None:
    """What the first attempt brought up is not run again, so it cannot be waited for."""
    tags = {DUE_TAG: "15m,1h,4h"}
    assert due_in(dg.DagsterRun("boundary", tags=tags)) == {Timeframe.M15, Timeframe.H1, Timeframe.H4}
    steps = ["candles__1h", "macdv__1h", "indicators__4h"]
    again = dg.DagsterRun("boundary", tags=tags, step_keys_to_execute=steps)
    assert due_in(again) == {Timeframe.H1}


def test_runs_that_failed_leave_nothing_behind() -> None:
    first = boundary_lease._brought_in("first")
    first.add(Timeframe.M15)
    assert boundary_lease._brought_in("first") == {Timeframe.M15}
    for number in range(100):
        boundary_lease._brought_in(str(number))
    assert len(boundary_lease._brought) == boundary_lease.RUNS_KEPT
    assert boundary_lease._brought_in("99") is boundary_lease._brought["99"]
    boundary_lease._brought.clear()
