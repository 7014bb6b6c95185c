"""The watched status fits its terminal and says what matters, however much there is to say."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from livermore_dagster.cli.status_screen import status_view

EXCHANGES = ("coinbase", "binance", "binance_us", "kraken", "kucoin", "mexc")
TROUBLE = "binance shall run and is idle: api.binance.com cannot be found: its name is not resolved. " * 3


def exchange(health: str, state: str) -> dict[str, Any]:
    return {
        "health": health, "wrong": ["no heartbeat for 41 s"], "state": state, "warmup": None,
        "symbols": ["X"] * 500,
        "closes_per_minute": 30_000.0, "settled_lag_s": 2.5, "heartbeat_age_s": 41.0,
        "backlog": {"signals": 190_000, "store": 3}, "counters": {"http_429": 1, "closes": 1_234_567},
        "connections": 10, "connections_up": 9,
        "standbys": [{"home": "vm:/srv/other", "hostname": "vm"}],
    }  # fmt: skip


def facts(**change: Any) -> dict[str, Any]:
    incident = {
        "name": "boundary_fallback_failed", "exchange": "binance_us", "times": 12_345, "severity": "error",
        "at_ms": 1_767_614_400_000, "words": "The candles that closed could not be fetched. " * 3,
    }  # fmt: skip
    alert = {
        "exchange": "binance_us", "symbol": "1000SATSUSDT", "timeframe": "15m",
        "label": "reversal_overbought",
        "macdv": 312.4, "candle_end_ms": 1_767_614_400_000, "withdrawn": False,
    }  # fmt: skip
    channel = {"channel": "desk", "user": "local:me", "state": "ready", "sent": 9, "failed": 1, "pending": 2}
    states = ["degraded", "down", "ok", "idle", "starting", "paused"]
    found: dict[str, Any] = {
        "simulated": True, "provenance": "sim:7", "speed": 60.0, "market_time_ms": 1_767_614_400_000,
        "exchanges": {
            name: exchange(health, "active" if health in ("ok", "degraded") else "idle")
            for name, health in zip(EXCHANGES, states, strict=True)
        },
        "homes": [
            {"home": "vm:/srv/one", "hostname": "vm", "daemon": True},
            {"home": "vm:/srv/other", "hostname": "vm", "daemon": False},
        ],
        "processes": [{"name": "valkey", "alive": False, "memory_bytes": 7_000_000}],
        "latency_ms": {"close_to_alert": {"p50": 4.0, "p99": 9.0, "max": 12.0, "n": 5}},
        "incidents": [incident] * 10, "alerts": [alert] * 20, "trouble": [TROUBLE],
        "notifications": {"notifier": {"pid": 1}, "channels": [channel] * 6},
        "addresses": {"dagster": "http://127.0.0.1:3000", "metrics": "http://127.0.0.1:9464/metrics"},
    }  # fmt: skip
    return found | change


def drawn(width: int, height: int, **change: Any) -> list[str]:
    console = Console(width=width, height=height, force_terminal=False)
    with console.capture() as caught:
        console.print(status_view(facts(**change), width, height))
    return caught.get().splitlines()


@pytest.mark.parametrize(
    ("width", "height"), [(60, 24), (80, 24), (100, 30), (120, 24), (120, 40), (200, 60)]
)
def test_it_is_never_higher_or_wider_than_the_terminal(width: int, height: int) -> None:
    lines = drawn(width, height)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


def test_it_says_what_matters_in_80_columns_and_24_lines() -> None:
    shown = "\n".join(drawn(80, 24))
    for words in (
        "SIMULATED sim:7 · 60×", "2026-01-05 12:00:00", "▲ active", "✖ idle", "190,000", "9/10",
        "✖ binance shall run", "not running now: valkey", "p99 9 ms", "desk of local:me: ready",
        "9 sent, 1 failed, 2 wait", "http://127.0.0.1:9464",
    ):  # fmt: skip
        assert words in shown


@pytest.mark.parametrize("width", [60, 70, 79])
def test_a_narrow_terminal_cuts_no_figure_and_names_what_it_leaves_out(width: int) -> None:
    calm = {"homes": [facts()["homes"][0]], "trouble": [], "incidents": []}
    shown = "\n".join(drawn(width, 24, **calm))
    assert "…" not in shown
    assert ("wider terminal: beat, lines" in shown) == (width == 60)
    for words in (
        "190,000",
        "30,000",
        "reversal_overbought",
        "p99",
        "9 ms",
        "127.0.0.1:3000",
        ":9464",
        "beat",
    ):
        assert words in shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_alerts_and_incidents_share_what_is_left_of_a_low_terminal(width: int) -> None:
    three = dict(list(facts()["exchanges"].items())[:3])
    shown = "\n".join(drawn(width, 24, exchanges=three, homes=facts()["homes"][:1], trouble=[]))
    assert shown.count("reversal_overbought") >= 2
    assert shown.count("boundary_fallback_failed") >= 2


def test_of_many_channels_the_one_that_fares_badly_is_told_first() -> None:
    ready = facts()["notifications"]["channels"][0]
    bad = [{**ready, "channel": name, "state": "refused"} for name in ("phone", "mail")]
    found = {"notifier": {"pid": 1}, "channels": [ready, ready, *bad]}
    told = [line for line in drawn(120, 24, notifications=found) if " of local:me: " in line]
    assert len(told) == 1
    assert "phone of local:me: refused" in told[0]
    assert "3 more, 1 in trouble: livermore notify status" in told[0]


def test_a_quiet_platform_says_so() -> None:
    quiet = {"channels": [], "notifier": {"pid": 1}}
    shown = "\n".join(drawn(80, 24, incidents=[], alerts=[], trouble=[], notifications=quiet))
    assert "none yet" in shown
    assert "no channel yet: livermore notify add" in shown
