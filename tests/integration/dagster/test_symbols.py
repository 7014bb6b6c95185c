"""The asset `symbols` and its sensor: events become runs, a start asks the exchange for nothing."""

from __future__ import annotations

import asyncio

import dagster as dg
import pytest

from assets.symbols import symbol_checks, symbols_asset
from livermore_dagster.resources import SYMBOLS_REASON_TAG, ExchangeResource, PlatformResource
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.symbol_events import SymbolEvent, append_symbol_event, doubt_symbol
from sensors.symbol_universe import symbol_sensor
from tests.integration.ingest.played import IDS, Platform, played

START_MS = 1_767_655_800_000


@pytest.fixture
def market(stored_instance, redis_url, database_url):
    with played(redis_url, database_url, ["coinbase"], 1.0, START_MS) as platform:
        platform.want("coinbase", "stopped", top=4)
        yield platform


def materialize(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [symbols_asset, symbol_checks()],
        instance=instance,
        partition_key="coinbase",
        resources={"exchange": ExchangeResource()},
        tags=tags,
        raise_on_error=False,
    )


def test_the_list_is_read_ranked_graded_and_checked_once(stored_instance, market: Platform) -> None:
    first = materialize(stored_instance, {})
    assert first.success
    facts = first.asset_materializations_for_node("symbols")[0].metadata
    assert facts["list"].value == "read anew"
    assert facts["monitored"].value == 4
    assert facts["ranked"].value > 30
    assert "data:image/svg+xml" in str(facts["picture"].value)
    evaluations = first.get_asset_check_evaluations()
    assert sorted((one.check_name, one.passed) for one in evaluations) == [
        ("monitored_are_listed_coinbase", True),
        ("not_empty_coinbase", True),
        ("one_product_per_base_coinbase", True),
    ]
    graded = market.query("SELECT count(*) FROM exchange_symbols WHERE liquidity_grade IS NOT NULL")
    assert graded[0][0] > 30
    asked = market.ask("coinbase", "counters")["requests"]
    again = materialize(stored_instance, {SYMBOLS_REASON_TAG: "start"})
    assert again.asset_materializations_for_node("symbols")[0].metadata["list"].value == "as stored"
    assert market.ask("coinbase", "counters")["requests"] == asked


def test_a_check_fails_on_a_base_that_is_ranked_twice(stored_instance, market: Platform) -> None:
    assert materialize(stored_instance, {}).success
    market.execute(
        "INSERT INTO exchange_symbols (exchange_id, symbol, base, quote, trading, volume_rank)"
        " VALUES (1, 'BTC-EURX', 'BTC', 'EURX', true, 99)"
    )
    again = materialize(stored_instance, {SYMBOLS_REASON_TAG: "start"})
    failed = [one.check_name for one in again.get_asset_check_evaluations() if not one.passed]
    assert failed == ["one_product_per_base_coinbase"]


def test_events_become_one_run_per_exchange_and_a_doubt_counts_once(
    stored_instance, redis_url: str, database_url: str
) -> None:
    async def events() -> None:
        client = connect_async(redis_url)
        await append_symbol_event(client, SymbolEvent(IDS["binance"], "start", 1))
        for _ in range(3):
            await doubt_symbol(client, IDS["coinbase"], "OLD-USD", "refused", 2)
        assert await client.xlen("symbol-events:1") == 1
        await client.aclose()

    asyncio.run(events())
    context = dg.build_sensor_context(instance=stored_instance, resources={"platform": PlatformResource()})
    result = symbol_sensor(context)
    assert isinstance(result, dg.SensorResult)
    found = {(one.partition_key, one.tags[SYMBOLS_REASON_TAG]) for one in result.run_requests or []}
    assert found == {("coinbase", "doubt"), ("binance", "start")}
    later = dg.build_sensor_context(
        instance=stored_instance, resources={"platform": PlatformResource()}, cursor=result.cursor
    )
    assert not symbol_sensor(later).run_requests
