"""The live screen fits its terminal, whatever it has to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.platform.child import Child, ChildSpec, ChildState
from livermore_dagster.platform.screen import LiveScreen
from livermore_dagster.platform.watch import AlertLine, ExchangeView

NAMES = (
    "valkey", "postgresql", "simulator", "code server", "notifier", "worker boundary", "worker batch",
    "worker ingest", "daemon", "web server",
)  # fmt: skip
TROUBLE = "Unknown symbol 'NOPE' on binance_us. Symbols there: BTCUSDT, ETHUSDT, SOLUSDT and many others."


@dataclass
class Looked:
    """What a watch found."""

    exchanges: list[ExchangeView]
    alerts: list[AlertLine]
    market_time: Any = field(default_factory=lambda: SimpleNamespace(now_ms=lambda: 1_767_655_800_000))


ALERT = AlertLine("binance", "BTCUSDT", "15m", "reversal_oversold", -212.5, 1_767_655_800_000, False)
QUIET = [
    ExchangeView(ROWS[0], "active", "running", ("BTC-USD",) * 20, closes_per_minute=1234.0),
    ExchangeView(ROWS[1], "active", "running", ("BTCUSDT",) * 500, closes_per_minute=41_734.0),
    ExchangeView(ROWS[2], "idle", "idle"),
]
VIEWS = [
    QUIET[0],
    ExchangeView(ROWS[1], "warming", "running", warmup_percent=42.0, warmup_eta_s=31.0),
    ExchangeView(ROWS[2], "idle", "running", last_error=TROUBLE),
]
WORST = [ExchangeView(row, "offline", "running", last_error=TROUBLE) for row in ROWS[:6]]


def screen_of(
    width: int,
    height: int,
    *,
    looked: bool = True,
    views: Sequence[ExchangeView] = VIEWS,
    states: Mapping[str, ChildState] | None = None,
) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, force_terminal=False, legacy_windows=False)
    screen = LiveScreen(console)
    home = Path("/srv/somewhere/with/a/long/name/of/a/home")
    addresses = {name: f"unix:{home}/run/s/{name}" for name in NAMES}
    addresses["web server"] = "http://127.0.0.1:3000"
    children = [
        Child(ChildSpec(name, ("true",), address, home / "log", ready=lambda: True))
        for name, address in addresses.items()
    ]
    for child in children:
        child.state = (states or {}).get(child.spec.name, ChildState.READY)
        child.restarts = 2 if child.state is ChildState.FAILED else 0
    options = SimpleNamespace(simulate=True, seed=7, speed=60.0, home=home)
    metrics = SimpleNamespace(port=9464)
    screen.supervisor = cast("Any", SimpleNamespace(children=children, options=options, metrics=metrics))
    if looked:
        screen.watch = cast("Any", Looked(list(views), [ALERT] * 30))
    for number in range(9):
        screen.tell(f"{number}: {TROUBLE} {TROUBLE}")
    with console.capture() as caught:
        console.print(screen.render())
    screen.close()
    return caught.get().splitlines()


SIZES = [(60, 24), (80, 24), (80, 50), (100, 26), (100, 30), (120, 24), (120, 40), (160, 50)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(
    ("views", "least"), [(QUIET, 5), (VIEWS, 5), (WORST, 3)], ids=["quiet", "mixed", "worst"]
)
def test_it_fits_every_terminal_and_shows_alerts_and_events_on_it(
    width: int, height: int, views: list[ExchangeView], least: int
) -> None:
    lines = screen_of(width, height, views=views)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    shown = "\n".join(lines)
    assert shown.count("reversal oversold") >= least
    assert "8: Unknown symbol" in shown, "the newest event"
    assert "SOLUSDT" in shown.partition("8: Unknown symbol")[2], "on two lines where one is too short"
    assert shown.count("✖") == 2 * sum(view.state == "offline" for view in views) + (views is VIEWS)


@pytest.mark.parametrize(("width", "height"), [(100, 40), (120, 40)])
def test_it_names_what_matters(width: int, height: int) -> None:
    shown = "\n".join(screen_of(width, height))
    for words in ("SIMULATED  seed 7 · 60×", "2026-01-05 23:30:00 UTC", "1,234", " 42 % · 31 s"):
        assert words in shown
    assert "Unknown symbol" in shown
    assert "reversal oversold" in shown
    assert all(name in shown for name in NAMES)


def test_a_higher_terminal_shows_more_alerts() -> None:
    low, high = ("\n".join(screen_of(120, height)).count("reversal") for height in (30, 50))
    assert low < high


def test_before_anything_runs_it_shows_the_processes() -> None:
    shown = "\n".join(screen_of(100, 30, looked=False))
    assert "valkey" in shown
    assert "last alerts" not in shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_low_screen_folds_what_is_well_and_nothing_else(width: int) -> None:
    lines = screen_of(width, 24, views=QUIET)
    shown = "\n".join(lines)
    assert "● 10 processes ready" in shown
    assert "valkey" not in shown
    states = {"valkey": ChildState.RESTARTING, "notifier": ChildState.FAILED}
    shown = "\n".join(screen_of(width, 24, views=QUIET, states=states))
    assert "▲ 8 of 10 processes ready" in shown
    assert "◐ restarting" in shown
    assert "· restarted: notifier 2×" in shown or width < 80
    assert "✖ failed" in shown
    assert shown.count("reversal") >= 3


def test_80_columns_cut_nothing_of_a_running_platform() -> None:
    shown = "\n".join(line for line in screen_of(80, 24, views=QUIET) if "Unknown symbol" not in line)
    assert "…" not in shown
    for words in (
        "SIMULATED  seed 7 · 60×", "2026-01-05 23:30:00 UTC", "http://127.0.0.1:3000", "metrics :9464",
        "Ctrl-C stops all", "closes/min", "41,734", "-212.5",
    ):  # fmt: skip
        assert words in shown


def test_columns_that_do_not_fit_are_named() -> None:
    views = [replace(view, settled_ms=1_767_655_800_000, command="switch-mode by ana") for view in VIEWS]
    shown = "\n".join(screen_of(60, 40, views=views))
    assert "42 % · 31 s" in shown
    assert "wider terminal: " in shown


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (120, 24)])
def test_a_start_is_seen_on_a_low_terminal(width: int, height: int) -> None:
    states = dict.fromkeys(NAMES[4:], ChildState.STARTING)
    lines = screen_of(width, height, looked=False, states=states)
    assert len(lines) <= height
    assert "8: Unknown symbol" in "\n".join(lines)
    assert all(name in "\n".join(lines) for name in NAMES[4:])
