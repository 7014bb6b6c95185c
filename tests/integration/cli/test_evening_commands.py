"""`livermore board`, `near-alerts`, `explain` and `alerts --follow`, over real servers with a few series."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.alert_rows import alert_message, indicator_facts
from livermore_dagster.ingest.series_fold import Kept, SeriesFold
from livermore_dagster.market.alert_rules import RuleState
from livermore_dagster.market.macdv import MacdvPoint, State
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import AlertRow, insert_alerts
from livermore_dagster.stores.postgres.connect import open_pool
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.desired import Desired, write_desired_sync

from .conftest import BINANCE, Command, alert

pytestmark = pytest.mark.usefixtures("filled")
ROW = next(row for row in ROWS if row.name == "binance")
NOW = time.time_ns() // 1_000_000


def state(timeframe: Timeframe, open_ms: int) -> State:
    bar = open_ms // timeframe.ms
    return State(1, timeframe.ms, 0, 0, open_ms, open_ms, bar, 250, 250, 1.0, 1.0, 1.0, 1.0, 9, 0.0)


def put(client: redis.Redis, symbol: str, timeframe: Timeframe, before: float, value: float) -> None:
    """A fresh series: its indicator and the fold's state, with the value of the candle before."""
    open_ms = timeframe.open_of(NOW) - timeframe.ms
    fold = SeriesFold(symbol, timeframe, watermark=open_ms)
    fold.kept = [
        Kept(state(timeframe, open_ms - timeframe.ms), RuleState(), before, ()),
        Kept(state(timeframe, open_ms), RuleState(), value, ()),
    ]
    point = MacdvPoint(open_ms, value, value - 10.0, 10.0, True, 250, 250, 0, None)
    at = (BINANCE, symbol, timeframe)
    client.set(keys.indicator(*at), json.dumps(indicator_facts(ROW, fold, point, "101.5")))
    client.set(keys.indicator_state(*at), fold.to_json())


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as opened:
        opened.set(keys.monitored(BINANCE), json.dumps(["BTCUSDT", "ETHUSDT"]))
        put(opened, "BTCUSDT", Timeframe.H1, 120.0, 140.0)
        put(opened, "BTCUSDT", Timeframe.H4, -190.0, -170.0)
        put(opened, "ETHUSDT", Timeframe.H1, 30.0, 20.0)
        yield opened


@pytest.fixture
def flowing(client: redis.Redis) -> Iterator[Claim]:
    """binance's instance, active."""
    claim = Claim(client, BINANCE, "binance")
    claim.acquire()
    for one in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
        claim.advance(one)
    yield claim
    claim.release()


def test_the_board_shows_every_symbol_and_timeframe(command: Command, client: redis.Redis) -> None:
    rows = json.loads(command("board", "--json").out)
    assert [(row["exchange"], row["symbol"], row["rank"]) for row in rows] == [
        ("binance", "BTCUSDT", 1), ("binance", "ETHUSDT", 2),
    ]  # fmt: skip
    btc = rows[0]
    assert list(btc["cells"]) == ["1m", "5m", "15m", "1h", "4h", "1d"]
    assert (btc["cells"]["1h"]["value"], btc["cells"]["1h"]["stage"]) == (140.0, "rallying")
    assert btc["cells"]["1d"]["reason"] == "no value yet"
    assert (btc["price"], btc["price_source"]) == ("101.5", "candle_close")
    assert (btc["portfolio"], btc["portfolio_reason"]) == ("No Data", "1d: no value yet")


def test_the_board_is_narrowed_and_sorted(command: Command, client: redis.Redis) -> None:
    def symbols(*arguments: str) -> list[str]:
        return [row["symbol"] for row in json.loads(command("board", "--json", *arguments).out)]

    assert symbols("--stage", "oversold") == ["BTCUSDT"]
    assert symbols("--stage", "oversold", "-t", "1h") == []
    assert symbols("-s", "1") == ["BTCUSDT"]
    assert symbols("-s", "ETHUSDT,BTCUSDT", "--sort", "symbol") == ["BTCUSDT", "ETHUSDT"]
    assert symbols("-t", "1h", "--sort", "macdv") == ["BTCUSDT", "ETHUSDT"]
    assert symbols("coinbase") == []


@pytest.mark.usefixtures("flowing")
def test_who_is_close_to_a_level_comes_closest_first(command: Command, client: redis.Redis) -> None:
    rows = json.loads(command("near-alerts", "--json").out)
    assert [(row["symbol"], row["timeframe"], row["level"], row["distance"]) for row in rows] == [
        ("BTCUSDT", "1h", 150, 10.0), ("BTCUSDT", "4h", -200, 30.0), ("ETHUSDT", "1h", 150, 130.0),
    ]  # fmt: skip
    assert [(row["speed_per_bar"], row["bars"]) for row in rows] == [
        (20.0, 0.5),
        (-20.0, None),
        (-10.0, None),
    ]
    assert len(json.loads(command("near-alerts", "--within", "30", "--json").out)) == 2
    assert len(json.loads(command("near-alerts", "-t", "4h", "--json").out)) == 1
    assert "BTCUSDT" in command("near-alerts", "-n", "1").out
    assert "within 5 points" in command("near-alerts", "--within", "5").err


def test_a_stopped_exchange_is_told_to_be(command: Command, client: redis.Redis, flowing: Claim) -> None:
    assert command("board").out.startswith("binance, 2 symbols")
    flowing.advance(InstanceState.STOPPING)
    assert command("board").out.startswith("binance (stopping), 2 symbols")
    flowing.release()
    assert command("board").out.startswith("binance (idle), 2 symbols")
    near = command("near-alerts", "--json")
    assert json.loads(near.out) == []
    assert near.err == "binance is idle: left out.\n"


@pytest.mark.usefixtures("flowing")
def test_what_is_stale_is_close_to_nothing(command: Command, client: redis.Redis) -> None:
    name = keys.indicator(BINANCE, "BTCUSDT", Timeframe.H1)
    old = json.loads(client.get(name))
    old |= {"open_ms": old["open_ms"] - 4 * 3_600_000, "end_ms": old["end_ms"] - 4 * 3_600_000}
    client.set(name, json.dumps(old))
    assert ("BTCUSDT", "1h") not in {
        (row["symbol"], row["timeframe"]) for row in json.loads(command("near-alerts", "--json").out)
    }
    assert "(+140.0)" in command("board", "-t", "1h").out


def test_a_series_is_explained(command: Command, client: redis.Redis) -> None:
    told = command("explain", "binance", "BTCUSDT", "1h")
    assert told.code == 0
    for words in (
        "binance is idle",
        "MACD-V +140.00",
        "above +150 (10.0 points away)",
        "livermore start binance",
    ):
        assert words in told.out
    facts = json.loads(command("explain", "binance", "BTCUSDT", "5m", "--json").out)
    assert facts["facts"]["stored"] == 8
    assert facts["facts"]["alerts"][0]["label"] == "level_150"
    assert [one["title"] for one in facts["sections"]] == ["source", "candles", "value", "alerts", "next"]


def test_only_a_running_instance_monitors_what_an_earlier_one_did(
    command: Command, client: redis.Redis
) -> None:
    claim = Claim(client, BINANCE, "binance")
    claim.acquire()

    def monitored() -> bool:
        told = json.loads(command("explain", "binance", "BTCUSDT", "1h", "--json").out)
        return bool(told["facts"]["monitored"])

    assert not monitored(), "registered and idle"
    claim.advance(InstanceState.STARTING)
    assert monitored()
    claim.release()


def test_a_crashed_instance_is_explained_with_its_error(command: Command, client: redis.Redis) -> None:
    write_desired_sync(client, BINANCE, Desired("running"))
    claim = Claim(client, BINANCE, "binance")
    claim.acquire()
    claim.advance(InstanceState.STARTING)
    claim.record_error("no route to host")
    client.delete(keys.status(BINANCE))
    told = command("explain", "binance", "BTCUSDT", "1h").out
    for words in ("binance is offline", "no route to host", "started again by itself"):
        assert words in told
    assert "livermore start" not in told


def test_a_timeframe_nobody_wants_is_explained_as_not_computed(
    command: Command, client: redis.Redis, database_url: str
) -> None:
    assert command("user", "add", "me", "--role", "admin").code == 0
    assert command("settings", "set", "runtime.timeframes", '["5m"]', "--user", "me").code == 0
    facts = json.loads(command("explain", "binance", "BTCUSDT", "1h", "--json").out)["facts"]
    assert facts["computed"] is False
    assert json.loads(command("explain", "binance", "BTCUSDT", "5m", "--json").out)["facts"]["computed"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("board", "nope"), "'nope'"),
        (("board", "--stage", "high"), "Stages: unknown, oversold"),
        (("board", "-t", "7m"), "'7m'"),
        (("board", "-s", "NOPE"), "'NOPE' on coinbase or binance or binance_us"),
        (("board", "-s", "ETHUSDC"), "Did you mean ETHUSDT"),
        (("board", "coinbase", "-s", "BTCUSDT"), "'BTCUSDT' on coinbase"),
        (("near-alerts", "-t", "2h"), "'2h'"),
        (("near-alerts", "kraken"), "is not active"),
        (("explain", "binance", "NOPE", "1h"), "'NOPE' on binance"),
        (("alerts", "--label", "level_1"), "Labels: level, reversal"),
        (("alerts", "--since", "later"), "'later' is not a time"),
        (("alerts", "--since", "2100-01-01"), "lies in the future"),
        (("backfill", "binance", "--since", "2100-01-01"), "lies in the future"),
    ],
)
def test_a_mistake_is_named(command: Command, arguments: tuple[str, ...], told: str) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert told in done.err
    assert done.out == ""


def test_a_board_of_what_is_not_monitored_says_how_to_begin(command: Command) -> None:
    done = command("board", "binance_us")
    assert (done.code, done.out) == (0, "")
    assert done.err == "Nothing is monitored on binance_us. Start it: livermore start binance_us\n"


@pytest.mark.parametrize(
    "arguments",
    [("board",), ("near-alerts",), ("alerts",), ("candles", "binance", "BTCUSDT", "5m"), ("status",)],
    ids=lambda arguments: arguments[0],
)
def test_a_provenance_that_is_not_the_stores_is_refused(
    command: Command, client: redis.Redis, arguments: tuple[str, ...]
) -> None:
    client.set(keys.PROVENANCE, "sim:7")
    done = command(*arguments)
    assert done.code == 1
    assert "holds 'sim:7' data, the settings say 'live'" in done.err
    assert "livermore env" in done.err
    assert done.out == ""


def test_alerts_are_filtered(command: Command) -> None:
    def labels(*arguments: str) -> list[str]:
        return [row["label"] for row in json.loads(command("alerts", "--json", *arguments).out)]

    assert labels("-l", "level") == labels("-l", "level_150") == labels("-t", "5m") == ["level_150"]
    assert labels("-l", "reversal") == labels("-t", "1h") == labels("--since", "1h") == []


def environment(home: Path, redis_url: str, database_url: str) -> dict[str, str]:
    names = {"LIVERMORE_HOME": str(home), "LIVERMORE_PROVENANCE": "live"}
    return {**os.environ, **names, "LIVERMORE_REDIS_URL": redis_url, "LIVERMORE_DATABASE_URL": database_url}


def hears_ctrl_c() -> None:
    """A suite that a shell runs in the background has SIGINT ignored, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_followed_alerts_are_each_shown_once_and_withdrawn_ones_again(
    redis_url: str, database_url: str, tmp_path: Path, client: redis.Redis
) -> None:
    """One stored before, one published live and again after a crash, one of another label."""
    program = [sys.executable, "-m", "livermore_dagster.cli.app", "alerts", "-f", "--json", "-l", "level"]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(tmp_path, redis_url, database_url), preexec_fn=hears_ctrl_c,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        before = json.loads(child.stdout.readline())
        assert before["id"] == 1
        live = asyncio.run(stored(database_url, alert(8)))
        for _ in range(2):
            client.publish(keys.channel_alerts(BINANCE), alert_message(ROW, live))
        heard = json.loads(child.stdout.readline())
        assert heard["id"] == live.id
        assert list(heard) == list(before), "stored and heard ones are told alike"
        assert (before["source_exchange_id"], before["source_exchange"]) == (BINANCE, "binance")
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE alert_history SET withdrawn_ms = 5 WHERE id = %s", [live.id])
        again = json.loads(child.stdout.readline())
        assert (again["id"], again["withdrawn_ms"]) == (live.id, 5)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 0
        assert child.stderr is not None
        assert child.stderr.read() == ""


@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "lines"])
def test_a_follower_ends_when_its_reader_does(
    form: list[str], redis_url: str, database_url: str, tmp_path: Path, client: redis.Redis
) -> None:
    program = [sys.executable, "-m", "livermore_dagster.cli.app", "alerts", "-f", *form]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(tmp_path, redis_url, database_url), preexec_fn=hears_ctrl_c,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert "level_150" in child.stdout.readline()
        child.stdout.close()
        live = asyncio.run(stored(database_url, alert(8)))
        client.publish(keys.channel_alerts(BINANCE), alert_message(ROW, live))
        try:
            assert child.wait(60) == 0
        finally:
            child.kill()
        assert child.stderr is not None
        assert child.stderr.read() == ""


def test_what_was_raised_while_the_follower_was_away_is_shown_whole(
    redis_url: str, database_url: str, tmp_path: Path, client: redis.Redis
) -> None:
    program = [sys.executable, "-m", "livermore_dagster.cli.app", "alerts", "-f", "--json"]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(tmp_path, redis_url, database_url), preexec_fn=hears_ctrl_c,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        before = [json.loads(child.stdout.readline())["id"] for _ in range(alerts_there(database_url))]
        live = asyncio.run(stored(database_url, alert(8)))
        client.publish(keys.channel_alerts(BINANCE), alert_message(ROW, live))
        assert json.loads(child.stdout.readline())["id"] == live.id
        with psycopg.connect(database_url) as connection:
            copied = connection.execute(MANY, {"id": live.id}).fetchall()
        client.client_kill_filter(_type="pubsub")
        shown = [json.loads(child.stdout.readline())["id"] for _ in copied]
        assert sorted(shown) == sorted(row[0] for row in copied)
        assert not {*shown} & {*before, live.id}
        assert "Back: nothing was missed.\n" in iter(child.stderr.readline, "")
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 0


MANY = """
INSERT INTO alert_history (exchange_id, symbol, timeframe, label, open_ms, kind, direction, candle_end_ms,
    triggered_ms, price, price_source, price_age_ms, macdv, stage, timeframes, bias, late, revised)
SELECT exchange_id, symbol, timeframe, label, open_ms + 60000 * step, kind, direction,
    candle_end_ms + 60000 * step, triggered_ms, price, price_source, price_age_ms, macdv, stage, timeframes,
    bias, late, revised
FROM alert_history, generate_series(1, 2500) AS step
WHERE id = %(id)s
RETURNING id
"""
"""More alerts than are remembered."""


def alerts_there(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM alert_history").fetchone()
    assert row is not None
    return int(row[0])


async def stored(database_url: str, row: AlertRow) -> AlertRow:
    pool = await open_pool(database_url, None)
    try:
        async with pool.connection() as connection:
            return (await insert_alerts(connection, BINANCE, [row]))[0]
    finally:
        await pool.close()


@pytest.mark.parametrize("name", ["board", "status"])
def test_a_watched_screen_ends_quietly_with_ctrl_c(
    name: str, redis_url: str, database_url: str, tmp_path: Path, client: redis.Redis
) -> None:
    program = [sys.executable, "-m", "livermore_dagster.cli.app", name, "--watch", "--json"]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(tmp_path, redis_url, database_url), preexec_fn=hears_ctrl_c,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        for _ in range(2):
            assert "BTCUSDT" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 0
        assert child.stderr is not None
        assert child.stderr.read() == ""


def test_a_reader_that_leaves_early_is_no_error(redis_url: str, database_url: str, tmp_path: Path) -> None:
    program = f"{sys.executable} -m livermore_dagster.cli.app --help | head -1; exit ${{PIPESTATUS[0]}}"
    many = program.replace("--help", "candles binance BTCUSDT 5m --json")
    for line in (program, many.replace("head -1", "true")):
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True,
            env=environment(tmp_path, redis_url, database_url), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
