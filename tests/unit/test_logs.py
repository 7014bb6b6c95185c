"""Log lines are JSON, at the level asked for, and hold no secret wherever it stood."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys

import pytest
import structlog

from livermore_dagster.errors import BadSetting
from livermore_dagster.logs import LEVEL, MASK, log_at, log_for_commands, log_level, log_to_stderr, scrub

PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB\n-----END EC PRIVATE KEY-----"
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJvcmcifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hunter2@host:5432/x", f"postgresql://me:{MASK}@host:5432/x"),
        ("redis://:hunter2@host", f"redis://:{MASK}@host"),
        ("https://discord.com/api/webhooks/123/a-B_c9", f"https://discord.com/api/webhooks/123/{MASK}"),
        (f"Authorization: Bearer {JWT}", f"Authorization: Bearer {MASK}"),
        (f"token {JWT} refused", f"token {MASK} refused"),
        ("GET /api?symbol=BTC&signature=ab12cd&x=1", f"GET /api?symbol=BTC&signature={MASK}&x=1"),
        (f"cannot read {PEM}", f"cannot read {MASK}"),
        (
            "https://api.binance.com/api/v3/klines?symbol=BTCUSDT",
            "https://api.binance.com/api/v3/klines?symbol=BTCUSDT",
        ),
        ("2026-01-05T23:30:00Z BTC-USD level_-150", "2026-01-05T23:30:00Z BTC-USD level_-150"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, shown: str) -> None:
    assert scrub(None, "info", {"event": text})["event"] == shown
    assert scrub(None, "info", {"event": "x", "deep": {"list": [text]}})["deep"]["list"] == [shown]
    assert scrub(None, "info", {"event": "x", "error": ValueError(text)})["error"] == shown


def test_names_decide_too_but_not_of_what_is_none() -> None:
    event = {
        "event": "x",
        "api_key": "k",
        "client_secret": "s",
        "key_env": "MY_KEY",
        "secret": None,
        "symbol": "KEY",
    }
    shown = scrub(None, "info", dict(event))
    assert shown == {**event, "api_key": MASK, "client_secret": MASK}


def test_a_line_is_one_json_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEVEL, "warning")
    before = structlog.get_config()
    try:
        log_to_stderr()
        log = structlog.get_logger("somewhere")
        log.info("unheard")
        try:
            raise OSError("redis://:hunter2@host")
        except OSError:
            log.exception("failed", exchange="binance")
    finally:
        structlog.configure(**before)
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"], found["exchange"]) == ("failed", "error", "binance")
    assert "hunter2" not in line
    assert "Traceback" in found["exception"]


def test_a_level_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL, "loud")
    with pytest.raises(BadSetting, match=r"'loud'.*debug, info, warning, error"):
        log_level()


def test_a_running_process_takes_another_level_unless_the_environment_says_which(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LEVEL, raising=False)
    before, library = structlog.get_config(), logging.getLogger("livermore_dagster")
    level = library.level
    try:
        log_to_stderr()
        log = structlog.get_logger("somewhere")
        log_at("debug")
        log.debug("heard")
        assert library.level == logging.DEBUG
        log_at("error")
        log.warning("unheard")
        monkeypatch.setenv(LEVEL, "error")
        log_at("debug")
        log.warning("unheard")
    finally:
        structlog.configure(**before)
        library.setLevel(level)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "heard"


def test_a_standard_error_that_is_gone_is_not_written_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command ran in this process, with a standard error of its own, before a service logs."""
    before = structlog.get_config()
    monkeypatch.delenv(LEVEL, raising=False)
    try:
        with monkeypatch.context() as patched, io.StringIO() as own:
            patched.setattr(sys, "stderr", own)
            log_for_commands()
        log_at("info")
        structlog.get_logger("x").info("still heard")
        assert "still heard" in capsys.readouterr().err
    finally:
        structlog.configure(**before)


def test_what_a_commands_libraries_log_is_not_on_its_screen() -> None:
    """As psycopg's pool does where Ctrl-C leaves a connection in the middle of something."""
    program = "import logging; from livermore_dagster.logs import log_for_commands; log_for_commands(); "
    program += "logging.getLogger('psycopg.pool').warning('discarding closed connection')"
    for level, shown in (("", ""), ("warning", "discarding closed connection\n")):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True,
            env={**os.environ, LEVEL: level},
        )  # fmt: skip
        assert done.stderr == shown
