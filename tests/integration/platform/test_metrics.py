"""One port answers for all processes: what Prometheus scrapes, and what watchers ask."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.incidents import CATALOGUE, IncidentName
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.metrics_catalogue import METRICS
from livermore_dagster.platform.metrics_collector import ProcessFacts
from livermore_dagster.platform.metrics_server import MetricsServer
from livermore_dagster.platform.vitals import ExchangeVitals, Health
from livermore_dagster.stores.redis import client as redis_client
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.desired import Desired, write_desired_sync
from livermore_dagster.stores.redis.metrics import LatencyHistogram, count, incident_sync

COINBASE, BINANCE = 1, 2
Get = Callable[[str], tuple[int, str]]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as opened:
        yield opened


@pytest.fixture
def get(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Get]:
    settings = Settings(tmp_path, redis_url, database_url, "live")
    yield from serve(settings)


def serve(settings: Settings) -> Iterator[Get]:
    processes = [ProcessFacts("valkey", up=True, restarts=0, memory_bytes=7_000_000)]
    server = MetricsServer(settings, lambda: ROWS, lambda: processes, 0)
    server.start()

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(server.url + path, timeout=60) as reply:  # noqa: S310 - our own loopback
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    yield get
    server.close()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def active(client: redis.Redis, exchange_id: int, name: str) -> Claim:
    """A held claim of an instance that has come up."""
    claim = Claim(client, exchange_id, name, run_id=None)
    claim.acquire()
    for state in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
        claim.advance(state)
    return claim


def test_what_all_processes_counted_is_scraped_from_one_port(get: Get, client: redis.Redis) -> None:
    for name, by in (("closes", 12), ("rest_requests:candles", 3), ("candles:5m", 7), ("news_of_today", 2)):
        count(client, BINANCE, name, by)
    incident_sync(client, IncidentName.HTTP_429, BINANCE, "slow down")
    LatencyHistogram("close_to_alert").observe(client, 40.0, times=9)
    LatencyHistogram("close_to_alert").observe(client, 4_000.0)
    code, text = get("/metrics")
    found = samples(text)
    binance = ("exchange", "binance")
    assert code == 200
    assert found["livermore_closes_total", (binance,)] == 12
    assert found["livermore_rest_requests_total", (("endpoint", "candles"), binance)] == 3
    assert found["livermore_candles_closed_total", (binance, ("timeframe", "5m"))] == 7
    assert found["livermore_other_events_total", (("event", "news_of_today"), binance)] == 2
    told = (binance, ("incident", "http_429"), ("severity", "error"))
    assert found["livermore_incidents_total", told] == 1
    assert found["livermore_close_to_alert_seconds_bucket", (("le", "0.05"),)] == 9
    assert found["livermore_close_to_alert_seconds_bucket", (("le", "+Inf"),)] == 10
    assert found["livermore_close_to_alert_seconds_sum", ()] == pytest.approx(4.36, rel=0.02)


def test_an_incident_never_told_is_zero_so_that_its_first_is_an_increase(
    get: Get, client: redis.Redis
) -> None:
    def told() -> dict[tuple[str, str], float]:
        return {
            (dict(labels)["exchange"], dict(labels)["incident"]): value
            for (name, labels), value in samples(get("/metrics")[1]).items()
            if name == "livermore_incidents_total"
        }

    before = told()
    active_names = {row.name for row in ROWS if row.active}
    assert before == {(name, kind.value): 0 for name in {"", *active_names} for kind in CATALOGUE}
    incident_sync(client, IncidentName.BREAKER_OPEN, BINANCE, "again and again")
    incident_sync(client, IncidentName.ACCOUNT_REFUSED, None, "whose?")
    rises = {place: value - before[place] for place, value in told().items() if value != before[place]}
    assert rises == {("binance", "breaker_open"): 1, ("", "account_refused"): 1}


def test_what_is_scraped_is_what_the_catalogue_lists(get: Get, client: redis.Redis) -> None:
    claim = active(client, BINANCE, "binance")
    claim.update(clock_ahead_ms=12)
    client.set("exchange:2:settled", 1_767_225_600_000)
    for name in ("rest_requests:candles", "candles:5m", "else"):
        count(client, BINANCE, name)
    incident_sync(client, IncidentName.WATCHDOG, BINANCE, "nothing came")
    families = {
        family.name.removesuffix("_info") for family in text_string_to_metric_families(get("/metrics")[1])
    }
    listed = {metric.name for metric in METRICS.values()}
    # Nobody has a channel here.
    assert listed - families == {"livermore_notifications_pending", "livermore_notifications_day"}
    assert families <= listed
    claim.release()


def health(get: Get, path: str = "/health") -> tuple[int, dict[str, Any]]:
    code, text = get(path)
    return code, json.loads(text)


def test_an_idle_platform_is_well(get: Get) -> None:
    code, facts = health(get)
    assert (code, facts["health"]) == (200, "ok")
    assert {one["health"] for one in facts["exchanges"].values()} == {"idle"}


def test_an_exchange_that_shall_run_and_does_not_is_down(get: Get, client: redis.Redis) -> None:
    write_desired_sync(client, COINBASE, Desired("running"))
    code, facts = health(get)
    assert (code, facts["health"]) == (503, "down")
    assert facts["wrong"] == ["coinbase: shall run and is idle"]
    assert health(get, "/health/coinbase")[0] == 503
    assert health(get, "/health/binance")[0] == 200
    code, facts = health(get, "/health/kraken")
    assert code == 404
    assert "kraken" in facts["error"]


def test_a_running_one_is_judged_by_its_figures(get: Get, client: redis.Redis) -> None:
    write_desired_sync(client, BINANCE, Desired("running"))
    claim = active(client, BINANCE, "binance")
    assert health(get, "/health/binance")[1]["health"] == "ok"
    claim.update(breaker_open=True)
    code, facts = health(get, "/health/binance")
    assert (code, facts["health"]) == (503, "degraded")
    assert facts["wrong"] == ["connecting fails again and again"]
    claim.update(breaker_open=False)
    client.set("exchange:2:settled", 1_767_225_600_000)
    assert "settled only up to" in health(get, "/health/binance")[1]["wrong"][0]
    claim.release()


def minutes_ago(minutes: int) -> int:
    return time.time_ns() // 1_000_000 - minutes * 60_000


def test_closes_that_nobody_takes_are_trouble_however_few(get: Get, client: redis.Redis) -> None:
    write_desired_sync(client, BINANCE, Desired("running"))
    claim = active(client, BINANCE, "binance")
    client.xadd(keys.closes(BINANCE), {"s": "BTCUSDT"}, id=f"{minutes_ago(5)}-0")
    assert health(get, "/health/binance")[1]["health"] == "ok", "it has just come up"
    claim.update(last_state_change=minutes_ago(2))
    code, facts = health(get, "/health/binance")
    assert (code, facts["health"]) == (503, "degraded")
    assert [re.sub(r"1[23]\d s", "120 s", text) for text in facts["wrong"]] == [
        "nothing was computed for 120 s; closes waiting: 1",
        "nothing was stored for 120 s; closes waiting: 1",
    ]
    found = samples(get("/metrics")[1])
    assert found["livermore_exchange_healthy", (("exchange", "binance"),)] == 0
    standing = found["livermore_closes_standing_seconds", (("exchange", "binance"), ("group", "store"))]
    assert standing == pytest.approx(120, abs=15)
    claim.update(paused=True)
    wrong = health(get, "/health/binance")[1]["wrong"]
    assert [text for text in wrong if "computed" in text] == [], "a close may wait for what is repaired"
    claim.release()


def test_a_warm_up_that_stands_still_is_trouble(get: Get, client: redis.Redis) -> None:
    write_desired_sync(client, BINANCE, Desired("running"))
    claim = Claim(client, BINANCE, "binance", run_id=None)
    claim.acquire()
    claim.advance(InstanceState.STARTING)
    claim.advance(InstanceState.WARMING)
    claim.update(last_state_change=minutes_ago(60))
    client.set(keys.warmup_stats(BINANCE), json.dumps({"phase": "fetching", "updated_ms": minutes_ago(4)}))
    assert health(get, "/health/binance")[1]["health"] == "starting", "an hour long, and it gets on"
    client.set(keys.warmup_stats(BINANCE), json.dumps({"phase": "fetching", "updated_ms": minutes_ago(7)}))
    (wrong,) = health(get, "/health/binance")[1]["wrong"]
    assert re.fullmatch(r"its warm-up has stood still for 4[23]\d s", wrong)
    client.hset(keys.budget(BINANCE), "closed_until", minutes_ago(-10))
    code, facts = health(get)
    assert (code, facts["health"]) == (503, "degraded")
    assert facts["wrong"][1].startswith("binance: the exchange allows no request for another ")
    claim.release()


def test_what_a_user_paused_is_well_for_as_long_as_he_likes(get: Get, client: redis.Redis) -> None:
    claim = active(client, BINANCE, "binance")
    client.set("exchange:2:settled", 1_767_225_600_000)
    write_desired_sync(client, BINANCE, Desired("running", paused=True))
    claim.update(paused=True, breaker_open=True)
    code, facts = health(get)
    assert (code, facts["health"], facts["wrong"]) == (200, "ok", [])
    assert facts["exchanges"]["binance"]["health"] == "paused"
    assert samples(get("/metrics")[1])["livermore_exchange_healthy", (("exchange", "binance"),)] == 1
    write_desired_sync(client, BINANCE, Desired("running"))
    claim.update(breaker_open=False)
    assert health(get, "/health/binance")[1]["health"] == "starting", "the gap is being repaired"
    claim.release()


@pytest.mark.parametrize(("user", "told"), [(False, "reading pauses until they are"), (True, "closes wait")])
def test_closes_that_pile_up_are_trouble_whoever_pauses(user: bool, told: str) -> None:
    vitals = ExchangeVitals(
        "binance", BINANCE, "active", desired=True, paused=True, pause_wanted=user, backlog={"store": 200_000}
    )
    verdict, wrong = vitals.judge()
    assert (verdict, told in wrong[-1]) == (Health.DEGRADED, True)


def test_a_redis_that_is_stopped_holds_nobody_up(
    get: Get, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = client.info("server")["process_id"]
    with monkeypatch.context() as impatient:
        impatient.setattr(redis_client, "ANSWER_S", 1.0)
        os.kill(pid, signal.SIGSTOP)
        try:
            code, text = get("/metrics")
            told, facts = health(get)
        finally:
            os.kill(pid, signal.SIGCONT)
    found = samples(text)
    assert (code, found["livermore_store_up", (("store", "redis"),)]) == (200, 0)
    assert found["livermore_store_up", (("store", "postgresql"),)] == 1
    assert (told, facts["health"]) == (503, "down")
    assert "Redis does not answer" in facts["wrong"][0]
    assert health(get)[0] == 200


def test_without_redis_and_postgresql_the_rest_is_still_told(tmp_path: Path) -> None:
    nowhere = Settings(tmp_path, "redis://127.0.0.1:1", "postgresql://u@127.0.0.1:1/x", "live")
    for get in serve(nowhere):
        code, text = get("/metrics")
        found = samples(text)
        assert code == 200
        assert found["livermore_store_up", (("store", "redis"),)] == 0
        assert found["livermore_store_up", (("store", "postgresql"),)] == 0
        assert found["livermore_process_up", (("process", "valkey"),)] == 1
        code, facts = health(get)
        assert (code, facts["health"]) == (503, "down")
        assert "Redis does not answer" in facts["wrong"][0]
