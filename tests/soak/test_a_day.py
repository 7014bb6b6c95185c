"""A day of market time on two exchanges: nothing grows, nothing slows down, and every candle is right.

LIVERMORE_SOAK_HOURS (24) of market time at LIVERMORE_SOAK_SPEED (60) times real time; the curves and their
figures go to LIVERMORE_SOAK_OUT (docs).
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.under_fire import on_fire
from tests.soak.curves import draw_latency, draw_memory
from tests.soak.sampling import HOUR_MS, Sampler, series

HOURS = float(os.environ.get("LIVERMORE_SOAK_HOURS", "24"))
SPEED = float(os.environ.get("LIVERMORE_SOAK_SPEED", "60"))
OUT = Path(os.environ.get("LIVERMORE_SOAK_OUT", Path(__file__).parents[2] / "docs"))
BEGINS = "2026-01-05T22:00:00Z"
"""The day's change, with its new order of symbols, comes early."""
EVERY_S = 10.0
MOST_GROWTH = {"ingest": 1.10}
OTHERS_GROWTH = 1.25
"""A worker's pool imports what its first run needs; what comes later stays."""
SLACK_MB = 12.0
"""What an allocator may keep without meaning it."""
INGEST_MB = 250.0


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lv-soak-"))
    folder.chmod(0o755)
    yield folder / "home"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.soak
@pytest.mark.timeout(HOURS * 3600 / SPEED + 1_800)
def test_a_day_of_market_time_leaves_memory_flat_and_candles_true(home: Path) -> None:
    arguments = ["--speed", f"{SPEED:g}", "--seed", "24", "--symbols", "20", "--from", BEGINS]
    arguments += ["--autostart", "coinbase", "--autostart", "binance"]
    with on_fire(home, *arguments) as fire:
        sampler = Sampler(fire, SPEED, fire.market_ms())
        sampler.begin()
        deadline = time.monotonic() + HOURS * HOUR_MS / 1000 / SPEED
        while time.monotonic() < deadline:
            sampler.sample()
            time.sleep(min(EVERY_S, max(0.1, deadline - time.monotonic())))
        sampler.sample()
        OUT.mkdir(parents=True, exist_ok=True)
        sampler.write(OUT / "soak.csv")
        title = f"{sampler.hours():.1f} h of market time at {SPEED:g}×, two exchanges, 20 symbols each"
        draw_memory(sampler.samples, OUT / "soak-memory.png", title)
        draw_latency(sampler.samples, OUT / "soak-latency.png", title)
        fire.settle()
        start, end = fire.window.from_ms, fire.window.to_ms
        assert start is not None
        assert end is not None
        assert fire.wrong(start, end) == []
        assert grown(sampler) == {}
        heaviest = {name: max(mb) for name, (_, mb) in memory(sampler).items() if name.startswith("ingest")}
        assert all(mb <= INGEST_MB for mb in heaviest.values()), heaviest


def memory(sampler: Sampler) -> dict[str, tuple[list[float], list[float]]]:
    return dict(series(sampler.samples, "memory"))


def grown(sampler: Sampler) -> dict[str, tuple[float, float]]:
    """Processes whose memory in the last quarter is more than it was in the second one: MB then and now.

    The first quarter is left out: caches fill then. The simulator keeps what it played and may grow.
    """
    found: dict[str, tuple[float, float]] = {}
    for name, (_, values) in memory(sampler).items():
        quarter = len(values) // 4
        if name == "simulator" or quarter < 2:
            continue
        before = statistics.median(values[quarter : 2 * quarter])
        now = statistics.median(values[-quarter:])
        if now > before * MOST_GROWTH.get(name.split()[0], OTHERS_GROWTH) + SLACK_MB:
            found[name] = (before, now)
    return found
