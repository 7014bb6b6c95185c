"""`livermore candles`, `indicators` and `alerts`: what people and scripts get, and what a mistake is told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.stores.redis import keys

from .conftest import BEGIN, COINBASE, M5, Command

pytestmark = pytest.mark.usefixtures("filled")


def test_candles_come_from_cache_and_database_as_one_series(command: Command) -> None:
    done = command("candles", "binance", "BTCUSDT", "5m", "--json")
    rows = json.loads(done.out)
    assert done.code == 0
    assert done.err == ""
    assert [row["open_ms"] for row in rows] == [BEGIN + index * M5.ms for index in range(9)]
    assert [row["state"] for row in rows] == ["final"] * 8 + ["open"]
    assert rows[0]["close"] == "101"


def test_the_limit_is_for_the_newest(command: Command) -> None:
    rows = json.loads(command("candles", "binance", "BTCUSDT", "5m", "-n", "2", "--json").out)
    assert [row["open_ms"] for row in rows] == [BEGIN + 7 * M5.ms, BEGIN + 8 * M5.ms]


def test_a_table_is_never_cut_where_there_is_no_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("candles", "indicators"):
        done = command(name, "binance", "BTCUSDT", "5m")
        assert done.code == 0
        assert "2026-01-01 00:35" in done.out
        assert "…" not in done.out
    done = command("alerts")
    assert "level_150" in done.out
    assert "bullish" in done.out
    assert "…" not in done.out


def test_prices_stand_point_below_point(command: Command) -> None:
    lines = command("candles", "binance", "BTCUSDT", "5m").out.splitlines()
    assert "100.500   101.250   99.125   101.000" in lines[-1]


def test_values_say_why_they_are_not_there(command: Command) -> None:
    rows = json.loads(command("indicators", "binance", "BTCUSDT", "5m", "--json").out)
    assert [row["macdv"] for row in rows] == [None, 151.5]
    assert rows[0]["reason"]
    assert rows[1]["stage"] == "overbought"
    assert rows[0]["reason"] in command("indicators", "binance", "BTCUSDT", "5m").out


def test_alerts_of_an_exchange_or_a_symbol(command: Command) -> None:
    for narrow in ((), ("-e", "binance"), ("-s", "BTCUSDT"), ("-e", "binance", "-s", "BTCUSDT")):
        (row,) = json.loads(command("alerts", "--json", *narrow).out)
        assert row["label"] == "level_150"
    assert json.loads(command("alerts", "-e", "coinbase", "--json").out) == []


def test_an_alias_is_followed(command: Command) -> None:
    done = command("candles", "coinbase", "BTC-USDC", "5m")
    assert done.code == 0
    assert done.out == ""
    assert "No 5m candle of BTC-USD on coinbase" in done.err


def test_an_audit_follows_an_alias(command: Command, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        claim = Claim(client, COINBASE, "coinbase")
        claim.acquire()
        for state in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
            claim.advance(state)
        client.set(keys.settled(COINBASE), BEGIN)
        client.set(keys.monitored(COINBASE), '["BTC-USD"]')
        words = ("audit", "coinbase", "--timeframes", "5m", "--no-ask", "--json", "--symbols")
        done = command(*words, "BTC-USDC,BTC-USD")
        checks = {one["check"]: one for one in json.loads(done.out)["checks"]}
        claim.release()
    assert checks["no_gaps"]["numbers"]["symbols judged"] == 1
    assert {row["symbol"] for row in checks["no_gaps"]["rows"]} == {"BTC-USD"}
    assert "Unknown symbol 'BTC-USDX'" in command(*words, "BTC-USDX").err


def test_an_audit_takes_what_only_the_exchange_could_refuse(
    command: Command, redis_url: str, database_url: str
) -> None:
    """The list is of the day before: the symbol may be younger."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE exchange_symbols SET updated_at = now() - interval '2 days'")
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        claim = Claim(client, COINBASE, "coinbase")
        claim.acquire()
        for state in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
            claim.advance(state)
        client.set(keys.settled(COINBASE), BEGIN)
        client.set(keys.monitored(COINBASE), '["BTC-USD"]')
        done = command(
            "audit", "coinbase", "--timeframes", "5m", "--no-ask", "--json", "--symbols", "NEW-USD,BTC-USDC"
        )
        claim.release()
    checks = {one["check"]: one for one in json.loads(done.out)["checks"]}
    assert {row["symbol"] for row in checks["no_gaps"]["rows"]} == {"NEW-USD", "BTC-USD"}


def test_an_alias_of_one_exchange_is_found_among_all(command: Command) -> None:
    assert command("board", "--symbols", "BTC-USDC").code == 0
    unknown = command("board", "--symbols", "BTC-USDX")
    assert unknown.code == 2
    assert "BTC-USDX" in unknown.err


def test_without_a_terminal_an_account_is_not_forgotten_unasked(command: Command) -> None:
    for more in ((), ("--json",)):
        done = command("account", "remove", "coinbase", *more)
        assert (done.code, done.out) == (2, "")
        assert "Add --yes" in done.err


def test_what_is_not_streamed_is_said(command: Command) -> None:
    done = command("candles", "coinbase", "BTC-USD", "1m")
    assert "does not stream 1m" in done.err
    assert "livermore backfill coinbase --timeframes 1m" in done.err
    assert command("candles", "coinbase", "BTC-USD", "1m", "--json").out == "[]\n"


@pytest.mark.parametrize("name", ["candles", "indicators"])
@pytest.mark.parametrize(
    ("series", "told"),
    [
        (("nope", "BTCUSDT", "5m"), ["'nope'", "Known exchanges: coinbase, binance"]),
        (("kraken", "BTCUSDT", "5m"), ["'kraken' is not active", "Active exchanges"]),
        (("binance", "NOPE", "5m"), ["'NOPE' on binance", "Symbols there: BTCUSDT, ETHUSDT"]),
        (("binance", "btc/usdt", "5m"), ["Did you mean BTCUSDT?"]),
        (("binance_us", "BTCUSDT", "5m"), ["No symbol of it is known yet"]),
        (("binance", "BTCUSDT", "7m"), ["'7m'", "1m, 5m, 15m, 1h, 4h, 1d"]),
    ],
)
def test_a_mistake_is_named(command: Command, name: str, series: tuple[str, ...], told: list[str]) -> None:
    done = command(name, *series, "--json")
    assert done.code == 2
    assert done.out == ""
    assert all(words in done.err for words in told), done.err


@pytest.mark.parametrize("narrow", [("-e", "nope"), ("-e", "kraken"), ("-s", "NOPE"), ("-n", "0")])
def test_a_mistaken_filter_is_named(command: Command, narrow: tuple[str, str]) -> None:
    done = command("alerts", *narrow)
    assert done.code == 2
    assert done.out == ""


COMMANDS = [
    ("candles", "binance", "BTCUSDT", "5m"),
    ("alerts", "--follow"),
    ("status",),
    ("backfill", "binance", "--timeframes", "1h", "--symbols", "2"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=[one[0] for one in COMMANDS])
@pytest.mark.parametrize(
    ("variable", "value", "code", "told"),
    [
        ("LIVERMORE_DATABASE_URL", "garbage", 2, "cannot be read"),
        ("LIVERMORE_DATABASE_URL", "postgresql://h/x?sslmode=disable", 2, "sslmode=disable"),
        ("LIVERMORE_DATABASE_URL", "postgresql://127.0.0.1:1/x", 1, "port 1 failed: Connection refused"),
        ("LIVERMORE_REDIS_URL", "garbage", 2, "cannot be read"),
        ("LIVERMORE_REDIS_URL", "redis://127.0.0.1:1", 1, "Redis does not answer"),
        ("LIVERMORE_PROVENANCE", "neither", 2, "'neither'"),
    ],
)
def test_a_wrong_or_silent_server_is_told_in_words(
    command: Command, arguments: tuple[str, ...], variable: str, value: str, code: int, told: str
) -> None:
    done = command(*arguments, **{variable: value})
    assert done.code == code
    assert told in done.err + done.out
    assert "Traceback" not in done.err


def test_without_postgresql_the_status_shows_what_redis_tells(command: Command) -> None:
    done = command("status", "--json", LIVERMORE_DATABASE_URL="postgresql://127.0.0.1:1/x")
    facts = json.loads(done.out)
    assert done.code == 1
    assert "Connection refused" in facts["trouble"][0]
    assert facts["exchanges"]["binance"]["symbols"] == []
    assert facts["exchanges"]["binance"]["state"] == "idle"
    assert facts["notifications"] is None


@pytest.mark.parametrize("arguments", [*COMMANDS, ("network", "log"), ("doctor",)], ids=lambda one: one[0])
def test_a_redis_that_hangs_holds_no_command_up(
    command: Command, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is stopped takes connections, and never answers."""
    monkeypatch.setattr("livermore_dagster.stores.redis.client.ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = command(*arguments, LIVERMORE_REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}")
    assert done.code == 1
    assert "Redis does not answer: Timeout" in done.err + done.out


def test_the_doctor_looks_at_servers_a_start_shall_use(command: Command, tmp_path: Path) -> None:
    def look(**replaced: str) -> dict[str, dict[str, str]]:
        done = command("doctor", "--json", LIVERMORE_PROVENANCE="", **replaced)
        return {one["name"]: one for one in json.loads(done.out)["findings"]}

    found = look()
    assert found["platform"]["text"].startswith("No platform runs in ")
    assert found["schema"]["level"] == found["postgresql"]["level"] == found["redis"]["level"] == "ok"
    found = look(LIVERMORE_REDIS_URL="http://x", LIVERMORE_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert "cannot be read" in found["redis"]["text"]
    assert "Connection refused" in found["postgresql"]["text"]


def test_db_check_says_that_no_server_answers(command: Command) -> None:
    done = command("db", "check", LIVERMORE_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert done.code == 1
    assert "Connection refused" in done.err
    assert "Traceback" not in done.err


def test_followed_alerts_come_one_to_a_line(
    command: Command, redis_url: str, database_url: str, tmp_path: Path
) -> None:
    del command  # its environment goes to the child
    program = [sys.executable, "-m", "livermore_dagster.cli.app", "alerts", "--follow", "--json"]
    names = {"LIVERMORE_HOME": str(tmp_path), "LIVERMORE_PROVENANCE": "live"}
    servers = {"LIVERMORE_REDIS_URL": redis_url, "LIVERMORE_DATABASE_URL": database_url}
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, env={**os.environ, **names, **servers}
    ) as child:
        assert child.stdout is not None
        first = json.loads(child.stdout.readline())
        child.terminate()
    assert first["label"] == "level_150"
