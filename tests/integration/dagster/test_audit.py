"""Audits find what was tampered with, repair it, and count it; what is too old leaves, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from livermore_dagster.cli.app import main
from livermore_dagster.ingest.context import REST_MARGIN_MS
from livermore_dagster.market.retention import DEFAULT_DAYS
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.simulator.clock import load_anchor
from tests.integration.dagster.test_assets import START_MS, SYMBOLS, market, materialize, metadata
from tests.integration.ingest.played import IDS, Platform

__all__ = ["market"]

H1 = Timeframe.H1
DAY_MS = 86_400_000
REPLY_MS = 6_000
"""A reply so late: by more than the lower bound of the exchange's clock lies behind it."""
TURN_MS = 3_000
"""All symbols are asked for within this, and the answers taken."""


@pytest.fixture(autouse=True)
def market_time(platform_environment: str, tmp_path: Path) -> None:
    """The home as `up` leaves it: commands read the simulated market's time there."""
    load_anchor(tmp_path / "market.json", 7, 1.0, START_MS, time.time_ns() // 1_000_000)


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict]]:
    """`livermore audit binance --timeframes 1h --json …`: exit code and the checks by name."""

    def run(*arguments: str) -> tuple[int, dict]:
        code = 0
        capsys.readouterr()
        try:
            main(["audit", "binance", "--timeframes", "1h", "--json", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = json.loads(capsys.readouterr().out)
        return code, {one["check"]: one for one in told["checks"]}

    return run


def test_tampered_candles_are_found_repaired_and_counted(
    stored_instance: dg.DagsterInstance, market: Platform, audit: Callable[..., tuple[int, dict]]
) -> None:
    assert materialize(stored_instance, ["candles", "1h"], "binance").success
    code, checks = audit()
    assert {name: one["passed"] for name, one in checks.items()} == {
        "matches_exchange": True, "no_gaps": True, "sane": True, "fresh": True, "live_equals_batch": True,
    }  # fmt: skip
    assert code == 0
    assert checks["matches_exchange"]["numbers"]["requests used"] == SYMBOLS
    symbol = market.symbols("binance")[0]
    opens = [
        row[0] for row in market.query("SELECT open_ms FROM candles WHERE symbol = %s ORDER BY 1", symbol)
    ]
    wrong, lost = opens[100], opens[120]
    # The cache would mend PostgreSQL by itself: both are tampered with, so that only the exchange can tell.
    with market.redis() as client:
        client.zremrangebyscore(f"candles:{IDS['binance']}:{symbol}:1h", wrong, lost)
    market.execute("UPDATE candles SET close = high WHERE symbol = %s AND open_ms = %s", symbol, wrong)
    market.execute("DELETE FROM candles WHERE symbol = %s AND open_ms = %s", symbol, lost)
    code, checks = audit("--no-ask")
    assert (code, checks["no_gaps"]["numbers"]["bars missing"]) == (1, 1)
    slow = {"kind": "slow_reply", "delay_s": REPLY_MS / 1000, "count": 1}
    market.fault("binance", **slow, endpoint="candles")
    code, checks = audit()
    done_ms = market.market_now("binance")
    assert code == 1
    numbers = checks["matches_exchange"]["numbers"]
    assert (numbers["candles that differed"], numbers["candles missing here"]) == (1, 1)
    assert numbers["now repaired"] == 2
    assert {row["field"] for row in checks["matches_exchange"]["rows"]} == {"close", "candle"}
    assert checks["no_gaps"]["passed"]
    stamps = market.query("SELECT stamp_ms FROM candles WHERE open_ms IN (%s, %s)", wrong, lost)
    asked_ms = done_ms - REPLY_MS + TURN_MS
    assert max(stamps)[0] < asked_ms - REST_MARGIN_MS, "stamped by when it was asked for, not answered"
    with market.redis() as client:
        assert client.hget(f"exchange:{IDS['binance']}:counters", "audit_differences") == "2"
    assert market.differences("binance", [H1], opens[0], opens[-1]) == []
    assert audit()[0] == 0


def test_what_is_older_than_kept_leaves_and_nothing_else(
    stored_instance: dg.DagsterInstance, market: Platform
) -> None:
    assert materialize(stored_instance, ["candles", "1h"], "binance").success
    now_ms = market.market_now("binance")
    cutoff = now_ms // DAY_MS * DAY_MS - 42 * DAY_MS
    symbol = market.query("SELECT min(symbol) FROM candles")[0][0]
    # A candle per day for 60 days back, more than the least that may be kept of 1h (42 days).
    for day in range(60):
        open_ms = now_ms // DAY_MS * DAY_MS - day * DAY_MS
        market.execute(
            "INSERT INTO candles SELECT exchange_id, symbol, timeframe, %s, open, high, low, close, volume, "
            "trades, rank, stamp_ms FROM candles WHERE symbol = %s AND timeframe = '1h' LIMIT 1 "
            "ON CONFLICT DO NOTHING",
            open_ms,
            symbol,
        )
    market.execute("INSERT INTO retention (timeframe, keep_days, changed_by) VALUES ('1h', 42, 'test')")
    before = market.query("SELECT count(*) FROM candles WHERE open_ms >= %s", cutoff)[0][0]
    older = market.query("SELECT count(*) FROM candles WHERE open_ms < %s", cutoff)[0][0]
    assert older >= 17
    done = materialize(stored_instance, ["retention"], "binance")
    assert done.success
    facts = metadata(done, ["retention"])
    assert facts["candles deleted"].value == older
    assert market.query("SELECT count(*), min(open_ms) >= %s FROM candles", cutoff) == [(before, True)]
    assert (
        metadata(materialize(stored_instance, ["retention"], "binance"), ["retention"])[
            "candles deleted"
        ].value
        == 0
    )


def test_deliveries_and_commands_leave_in_time_and_alerts_and_settings_stay(
    stored_instance: dg.DagsterInstance, market: Platform
) -> None:
    now_ms = time.time_ns() // 1_000_000
    market.execute(
        "INSERT INTO users (identity_provider, identity_sub, email, display_name, role)"
        " VALUES ('local', 'ana', '', 'Ana', 'admin')"
    )
    for number, (state, age) in enumerate([("sent", 100), ("pending", 100), ("muted", 91), ("sent", 89)]):
        market.execute(
            "INSERT INTO alert_history (exchange_id, symbol, timeframe, label, open_ms, kind, direction,"
            " candle_end_ms, triggered_ms, price, price_source, price_age_ms, macdv, stage, timeframes, bias,"
            " late, revised, routed_ms) VALUES (2, 'BTCUSDT', '1m', 'level_150', %s, 'level', 'up', 0, 0, 1,"
            " 'ticker', 0, 151, 'overbought', '{}', 'neutral', false, false, 0)",
            number,
        )
        market.execute(
            "INSERT INTO alert_deliveries (alert_id, user_id, channel, form, state, routed_ms,"
            " next_attempt_ms) SELECT id, (SELECT id FROM users), 'main', 'single', %s, %s, 0"
            " FROM alert_history WHERE open_ms = %s",
            state, now_ms - age * DAY_MS, number,
        )  # fmt: skip
    for age in (364, 366, 500):
        market.execute(
            "INSERT INTO command_history (correlation_id, identity_sub, type, exchange, payload, priority,"
            " sent_ms, received_ms, outcome, error, result, instance_id) VALUES (%s, 'ana', 'pause',"
            " 'nowhere', '{}', 'normal', 0, %s, 'running', '', '{}', '')",
            str(age), now_ms - age * DAY_MS,
        )  # fmt: skip
    market.execute(
        "INSERT INTO settings_changes (identity_sub, revision, path, changed_by, changed_at)"
        " VALUES ('ana', 1, 'alerts', 'ana', now() - interval '9 years')"
    )
    facts = metadata(materialize(stored_instance, ["retention"], "binance"), ["retention"])
    assert facts["records deleted"].value == 4
    left = market.query("SELECT state FROM alert_deliveries ORDER BY routed_ms")
    assert left == [("pending",), ("sent",)], "what still waits to be told is not old"
    assert market.query("SELECT correlation_id FROM command_history") == [("364",)]
    counts = "SELECT (SELECT count(*) FROM alert_history), (SELECT count(*) FROM settings_changes)"
    assert market.query(counts) == [(4, 1)]


def test_retention_is_shown_and_set_by_an_admin_only(
    market: Platform, stored_instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        code = 0
        capsys.readouterr()
        try:
            main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return code, told.err.replace("\n", " ") if code else told.out

    assert run("user", "add", "root", "--role", "admin")[0] == 0
    assert run("user", "add", "ana", "--role", "user")[0] == 0
    for arguments, words in (
        (("1h", "30", "--user", "root"), "Keep at least 42"),
        (("1h", "soon", "--user", "root"), "'soon' is no number of days"),
        (("2h", "50", "--user", "root"), "Unknown timeframe '2h'"),
        (("alerts", "50", "--user", "root"), "besides: deliveries, commands"),
        (("deliveries", "3", "--user", "root"), "Keep at least 7"),
        (("1h", "50", "--user", "ana"), "this is for admins"),
    ):
        code, told = run("retention", "set", *arguments)
        assert (code, words in told) == (2, True), told
    assert run("retention", "set", "1m", "30", "--user", "root")[0] == 0
    assert run("retention", "set", "1h", "400", "--user", "root")[0] == 0
    assert run("retention", "set", "1h", "forever", "--user", "root")[0] == 0
    assert "commands are kept for 30 days" in run("retention", "set", "commands", "30", "--user", "root")[1]
    kept = json.loads(run("retention", "show", "--json")[1])
    assert kept == {**{what.value: days for what, days in DEFAULT_DAYS.items()}, "1m": 30, "commands": 30}
