"""Market time is anchored, runs on while the simulator is down, and never goes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from livermore_dagster.errors import BadSetting
from livermore_dagster.simulator.clock import load_anchor

START, REAL = 1_767_655_800_000, 1_790_000_000_000


def test_time_runs_on_while_down(tmp_path: Path) -> None:
    path = tmp_path / "anchor.json"
    assert load_anchor(path, 7, 60.0, START, REAL).market_at(REAL) == START
    again = load_anchor(path, 7, 60.0, START, REAL + 10_000)
    assert again.market_at(REAL + 10_000) == START + 600_000
    assert load_anchor(path, 7, 60.0, None, REAL + 10_000) == again


def test_another_speed_goes_on_from_now(tmp_path: Path) -> None:
    path = tmp_path / "anchor.json"
    load_anchor(path, 7, 60.0, START, REAL)
    slower = load_anchor(path, 7, 1.0, None, REAL + 10_000)
    assert slower.market_at(REAL + 10_000) == START + 600_000
    assert slower.market_at(REAL + 11_000) == START + 601_000
    assert slower.origin_ms == START
    assert load_anchor(path, 7, 1.0, START, REAL + 20_000) == slower


def test_a_real_clock_set_back_does_not_move_the_market_back(tmp_path: Path) -> None:
    anchor = load_anchor(tmp_path / "anchor.json", 7, 60.0, START, REAL)
    assert anchor.market_at(REAL - 5000) == START


def test_contradictions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "anchor.json"
    load_anchor(path, 7, 60.0, START, REAL)
    with pytest.raises(BadSetting, match="--seed 7"):
        load_anchor(path, 8, 60.0, None, REAL)
    with pytest.raises(BadSetting, match="--from"):
        load_anchor(path, 7, 60.0, START + 1, REAL)
    path.write_text("{")
    with pytest.raises(BadSetting, match="not a market anchor"):
        load_anchor(path, 7, 60.0, None, REAL)


def test_without_a_file_every_start_begins_anew() -> None:
    assert load_anchor(None, 7, 60.0, START, REAL).market_ms == START
    assert load_anchor(None, 7, 60.0, None, REAL).market_ms == REAL
