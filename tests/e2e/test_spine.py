"""The main promise: what the exchanges closed is what is stored, and what was stored alerted, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.comparison import alert_differences, differences
from tests.e2e.platform_run import Place, to_ms, truth_of
from tests.e2e.under_fire import runs_of

pytestmark = pytest.mark.xdist_group("spine")

SEED = 11
START = "2026-01-05T23:30:00Z"
STARTED = ("coinbase", "binance")


@pytest.fixture
def place(tmp_path: Path, redis_url: str, database_url: str) -> Place:
    return Place(tmp_path / "home", redis_url, database_url)


@pytest.mark.timeout(480)
def test_the_spine_keeps_its_promise(place: Place) -> None:
    report = place.up(
        "--simulate", "--autostart", "coinbase", "--autostart", "binance", "--speed", "60",
        "--symbols", "20", "--from", START, "--seed", str(SEED), "--for", "100",
        timeout=420,
    )  # fmt: skip
    start, end = to_ms(report["window"]["from"]), to_ms(report["window"]["to"])
    assert end - start >= 60 * 60_000, report["window"]
    assert report["errors"] == []
    assert report["runs"]["failed"] == 0
    assert report["runs"]["succeeded"] > 0
    audits = runs_of(place.database_url, "pipeline_name = 'audit' AND status = 'SUCCESS'")
    assert len(audits) >= len(STARTED), "each exchange's full hour is audited, in a run of its own"
    wrong: list[str] = []
    alerts_wrong: list[str] = []
    with truth_of(STARTED, SEED, place.home / "market.json") as truth:
        for exchange in STARTED:
            facts = report["exchanges"][exchange]
            assert facts["http_429"] == 0
            assert len(facts["symbols"]) == 20
            kinds = Counter(truth.symbols(exchange)[symbol] for symbol in facts["symbols"])
            assert kinds["sparse"] >= 4, kinds
            assert kinds["listed"] == 1, kinds
            assert kinds["silent"] == 1, kinds
            wrong += differences(place, truth, exchange, facts["symbols"], start, end)
            alerts_wrong += alert_differences(place, truth, exchange, facts["symbols"], start, end)
    assert wrong == []
    assert alerts_wrong == []
    assert report["alerts"]["stored"] > 0
    assert report["alerts"]["published"] == report["alerts"]["stored"]
