"""The live screen fits its terminal, whatever it has to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.platform.child import Child, ChildSpec
from livermore_dagster.platform.screen import LiveScreen
from livermore_dagster.platform.watch import AlertLine, ExchangeView

NAMES = ("valkey", "postgresql", "simulator", "code server", "worker boundary", "worker batch", "web server")
TROUBLE = "Unknown symbol 'NOPE' on binance_us. Symbols there: BTCUSDT, ETHUSDT, SOLUSDT and many others."


@dataclass
class Looked:
    """What a watch found."""

    exchanges: list[ExchangeView]
    alerts: list[AlertLine]
    market_time: Any = field(default_factory=lambda: SimpleNamespace(now_ms=lambda: 1_767_655_800_000))


def screen_of(width: int, height: int, *, looked: bool = True) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, force_terminal=False, legacy_windows=False)
    screen = LiveScreen(console)
    home = Path("/srv/somewhere/with/a/long/name/of/a/home")
    children = [
        Child(ChildSpec(name, ("true",), f"unix:{home}/run/s/{name}", home / "log", ready=lambda: True))
        for name in NAMES
    ]
    options = SimpleNamespace(simulate=True, seed=7, speed=60.0, home=home)
    screen.supervisor = cast("Any", SimpleNamespace(children=children, options=options))
    views = [
        ExchangeView(ROWS[0], "active", "running", ("BTC-USD",) * 20, closes_per_minute=1234.0),
        ExchangeView(ROWS[1], "warming", "running", warmup_percent=42.0, warmup_eta_s=31.0),
        ExchangeView(ROWS[2], "idle", "running", last_error=TROUBLE),
    ]
    alert = AlertLine("binance", "BTCUSDT", "15m", "reversal_oversold", -212.5, 1_767_655_800_000, False)
    if looked:
        screen.watch = cast("Any", Looked(views, [alert] * 30))
    for number in range(9):
        screen.tell(f"{number}: {TROUBLE} {TROUBLE}")
    with console.capture() as caught:
        console.print(screen.render())
    screen.close()
    return caught.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(100, 30), (120, 40), (160, 50), (100, 26)])
def test_it_is_never_higher_or_wider_than_the_terminal(width: int, height: int) -> None:
    lines = screen_of(width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize(("width", "height"), [(100, 30), (120, 40)])
def test_it_names_what_matters(width: int, height: int) -> None:
    shown = "\n".join(screen_of(width, height))
    for words in ("SIMULATED  seed 7 · 60×", "2026-01-05 23:30:00 UTC", "1,234", "━ 42 % · 31 s"):
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
