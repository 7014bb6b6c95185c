"""Assets materialised as from a shell, against the simulator, with PostgreSQL under Dagster too."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
import pytest

from assets import candles
from livermore_dagster.definitions import defs
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from tests.integration.ingest.played import IDS, Platform, played

START_MS = 1_767_655_800_000
SYMBOLS = 4
H1 = Timeframe.H1


@pytest.fixture
def market(stored_instance, redis_url, database_url):
    with played(redis_url, database_url, ["binance", "coinbase"], 1.0, START_MS) as platform:
        for exchange in ("binance", "coinbase"):
            platform.want(exchange, "stopped", top=SYMBOLS)
        yield platform


def materialize(
    instance: dg.DagsterInstance, path: list[str], partition: str, tags: Mapping[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    job = defs.get_repository_def().get_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(path)],
        partition_key=partition,
        tags=dict(tags or {}),
        raise_on_error=False,
    )


def metadata(result: dg.ExecuteInProcessResult, path: list[str]) -> Mapping[str, dg.MetadataValue]:
    return result.asset_materializations_for_node("__".join(path))[0].metadata


def failure(result: dg.ExecuteInProcessResult) -> str:
    events = [event for event in result.all_events if event.is_step_failure]
    assert events
    return str(events[0].step_failure_data.user_failure_data.description)


def test_by_hand_an_asset_fills_what_is_missing_once(stored_instance, market: Platform) -> None:
    first = materialize(stored_instance, ["candles", "1h"], "binance")
    assert first.success
    facts = metadata(first, ["candles", "1h"])
    assert facts["requests used"].value > 0
    assert facts["gaps left"].value == 0
    assert "data:image/svg+xml" in str(facts["picture"].value)
    stored = market.query("SELECT count(*) FROM candles WHERE exchange_id = 2 AND timeframe = '1h'")[0][0]
    assert facts["dagster/row_count"].value == stored > SYMBOLS * 100
    end_ms = int(facts["boundary"].value * 1000)
    assert len(market.symbols("binance")) == SYMBOLS
    with market.redis() as client:
        assert not client.exists(keys.monitored(IDS["binance"])), "no instance runs: nothing is monitored"
    assert market.differences("binance", [H1], end_ms - 300 * H1.ms, end_ms) == []
    second = materialize(stored_instance, ["candles", "1h"], "binance")
    again = metadata(second, ["candles", "1h"])
    assert again["requests used"].value == 0
    assert again["candles repaired"].value == 0
    tags = {
        "livermore/boundary_ms": str(end_ms - 3 * H1.ms),
        "livermore/due": "1h",
        "livermore/raised_ms": "1",
    }
    late = metadata(materialize(stored_instance, ["candles", "1h"], "binance", tags), ["candles", "1h"])
    assert {row.data["behind boundary (s)"] for row in late["symbols"].records} == {0}
    for layer in ("macdv", "indicators"):
        assert materialize(stored_instance, [layer, "1h"], "binance").success
    values = market.query("SELECT count(*), count(macdv), count(DISTINCT source) FROM indicators")
    assert values[0][1] > 0
    assert values[0][2] == 1
    standard = market.query("SELECT count(rsi_14), count(adx_14), count(obv) FROM standard_indicators")
    assert all(count > 0 for count in standard[0])


def test_a_boundary_run_fetches_what_is_not_streamed_and_marks_the_boundary(
    stored_instance, market: Platform
) -> None:
    boundary = market.market_now("coinbase") // H1.ms * H1.ms
    tags = {"livermore/boundary_ms": str(boundary), "livermore/due": "1h", "livermore/raised_ms": "1"}
    result = materialize(stored_instance, ["candles", "1h"], "coinbase", tags)
    assert result.success
    assert metadata(result, ["candles", "1h"])["started by"].value == "boundary event"
    with market.redis() as client:
        record = client.hget(keys.boundary_done(IDS["coinbase"]), str(boundary))
        at_work = client.get(keys.boundary_run(IDS["coinbase"]))
    assert record is not None
    assert '"finished"' in record.replace(" ", "")
    assert at_work == str(boundary), "for the live service: the rest of the run takes its time too"
    assert market.differences("coinbase", [H1], boundary - 24 * H1.ms, boundary) == []


def test_a_boundary_run_does_not_count_whole_series(
    stored_instance, market: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candles, "COUNT_TO", 20)
    boundary = market.market_now("coinbase") // H1.ms * H1.ms
    tags = {"livermore/boundary_ms": str(boundary), "livermore/due": "1h", "livermore/raised_ms": "1"}
    facts = metadata(materialize(stored_instance, ["candles", "1h"], "coinbase", tags), ["candles", "1h"])
    stored = market.query("SELECT min(held) FROM (SELECT count(*) held FROM candles GROUP BY symbol)")[0][0]
    assert stored > 20
    assert facts["candles, at least"].value == 20 * SYMBOLS
    assert "dagster/row_count" not in facts
    assert {row.data["candles (counted to 20)"] for row in facts["symbols"].records} == {20}


@pytest.mark.parametrize(("wanted", "state"), [(4, "finished"), (1, "started")])
def test_a_boundary_run_that_lacks_most_series_leaves_the_boundary_to_the_next_try(
    stored_instance, market: Platform, wanted: int, state: str
) -> None:
    boundary = market.market_now("coinbase") // H1.ms * H1.ms
    tags = {"livermore/boundary_ms": str(boundary), "livermore/due": "1h", "livermore/raised_ms": "1"}
    market.want("coinbase", "stopped", top=wanted)
    market.fault("coinbase", kind="rate_limit", endpoint="candles", count=1, retry_after_s=1)
    result = materialize(stored_instance, ["candles", "1h"], "coinbase", tags)
    assert f"1 of {wanted} symbols could not be fetched" in failure(result)
    with market.redis() as client:
        record = client.hget(keys.boundary_done(IDS["coinbase"]), str(boundary))
    assert record is not None
    assert f'"{state}"' in record.replace(" ", "")


@pytest.mark.parametrize(
    ("exchange", "timeframe", "words"),
    [("coinbase", "1m", "coinbase does not stream 1m"), ("kraken", "1h", "'kraken' is not active")],
)
def test_a_cell_that_cannot_be_says_which_and_why(
    stored_instance, market: Platform, exchange: str, timeframe: str, words: str
) -> None:
    result = materialize(stored_instance, ["candles", timeframe], exchange)
    assert not result.success
    assert words in failure(result)
