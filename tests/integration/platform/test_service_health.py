"""/health says when PostgreSQL takes no writes or the notifier does not advance, without waiting for them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.platform import service_watch
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.metrics_server import MetricsServer
from livermore_dagster.stores.postgres.alerts import insert_alerts
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect
from tests.integration.notify.conftest import BINANCE, alert

Facts = dict[str, Any]
OURS = """SELECT pid FROM pg_stat_activity
    WHERE application_name = 'livermore-health' AND datname = current_database()"""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_S", "AGAIN_S"):
        monkeypatch.setattr(service_watch, name, 0.05)


@contextmanager
def served(redis_url: str, database_url: str, home: Path) -> Iterator[MetricsServer]:
    server = MetricsServer(Settings(home, redis_url, database_url, "live"), lambda: ROWS, list, 0)
    server.start()
    try:
        yield server
    finally:
        server.close()


def until(server: MetricsServer, holds: Callable[[bool, Facts], bool]) -> Facts:
    """What is answered once it `holds`; no answer takes long."""
    server.health()
    deadline = time.monotonic() + 60
    while True:
        asked = time.monotonic()
        well, facts = server.health()
        assert time.monotonic() - asked < 20
        if holds(well, facts):
            return facts
        assert time.monotonic() < deadline, facts
        time.sleep(0.05)


def run(database_url: str, statement: str, *given: Any) -> list[Any]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        found = connection.execute(statement, given)  # type: ignore[call-overload]
        return found.fetchall() if found.description else []


async def store_alert(database_url: str) -> int:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await upsert_rows(connection, ROWS)
        (stored,) = await insert_alerts(connection, BINANCE, [alert(1)])
    return stored.id


def write_beat(redis_url: str) -> None:
    with connect(redis_url) as client:
        client.set(keys.NOTIFIER, json.dumps({"at_ms": time.time_ns() // 1_000_000}))


def test_both_are_well_and_named(redis_url: str, database_url: str, tmp_path: Path) -> None:
    write_beat(redis_url)
    with served(redis_url, database_url, tmp_path) as server:
        facts = until(server, lambda well, _: well)
        services = facts["services"]
        assert services["postgresql"] == {"health": "ok", "wrong": []}
        assert (services["notifier"]["health"], services["notifier"]["wrong"]) == ("ok", [])
        # It keeps one connection.
        assert len(run(database_url, OURS)) == 1


def test_a_database_that_only_reads_is_told_and_one_that_writes_again(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    name = conninfo_to_dict(database_url)["dbname"]
    run(database_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    with served(redis_url, database_url, tmp_path) as server:
        facts = until(server, lambda well, _: not well)
        assert facts["health"] == "degraded"
        assert facts["services"]["postgresql"]["health"] == "down"
        (words,) = facts["wrong"]
        assert words.startswith("postgresql: PostgreSQL takes no writes: ")
        assert "read-only" in words
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')  # type: ignore[call-overload]
        until(server, lambda well, _: well)


def test_a_server_that_hangs_is_told_and_holds_nobody_up(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(redis_url, database_url, tmp_path) as server:
        until(server, lambda well, _: well)
        ((pid,),) = run(database_url, OURS)
        monkeypatch.setattr(service_watch, "ANSWER_S", 1.0)
        os.kill(pid, signal.SIGSTOP)
        try:
            facts = until(server, lambda well, _: not well)
        finally:
            os.kill(pid, signal.SIGCONT)
        (words,) = facts["wrong"]
        assert words.startswith("postgresql: PostgreSQL has not answered for ")
        until(server, lambda well, _: well)


def test_a_connection_that_was_ended_is_no_trouble(redis_url: str, database_url: str, tmp_path: Path) -> None:
    with served(redis_url, database_url, tmp_path) as server:
        until(server, lambda well, _: well)
        for _ in range(3):
            for (pid,) in run(database_url, OURS):
                run(database_url, "SELECT pg_terminate_backend(%s)", pid)
            for _ in range(10):
                assert server.health()[0]
                time.sleep(0.02)


def test_a_server_that_is_away_is_told(redis_url: str, tmp_path: Path) -> None:
    with served(redis_url, "postgresql://u:secret@127.0.0.1:1/x", tmp_path) as server:
        facts = until(server, lambda well, _: not well)
        (words,) = facts["wrong"]
        assert words.startswith("postgresql: PostgreSQL does not let us in")
        assert "secret" not in words


def test_without_a_notifier_nobody_is_told_and_that_is_said(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(redis_url, database_url, tmp_path) as server:
        until(server, lambda well, _: well)
        monkeypatch.setattr(service_watch, "NOTIFIER_COMES_S", 0.0)
        facts = until(server, lambda well, _: not well)
        assert facts["health"] == "degraded"
        assert facts["wrong"] == [
            "notifier: no notifier is at work: alerts are stored and published, and nobody is told"
        ]
        write_beat(redis_url)
        until(server, lambda well, _: well)


def test_a_notifier_that_beats_and_judges_nothing_is_told(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_watch, "UNROUTED_LATE_S", 0.3)
    write_beat(redis_url)
    with served(redis_url, database_url, tmp_path) as server:
        until(server, lambda well, _: well)
        alert_id = asyncio.run(store_alert(database_url))
        facts = until(server, lambda well, _: not well)
        assert f"notifier: the notifier beats, and has not judged alert {alert_id} for " in facts["wrong"][0]
        assert facts["services"]["notifier"]["beat_age_s"] >= 0
        run(database_url, "UPDATE alert_history SET routed_ms = 1")
        until(server, lambda well, _: well)
