"""kill -9 in mid-flow, one thing after another on one platform: in the end nothing is missing or twice."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.e2e import kills
from tests.e2e.under_fire import Aftermath, on_fire

pytestmark = pytest.mark.xdist_group("fire")

BACK_S = 60.0
"""An exchange beats again this soon, whatever died."""


def judge(left: Aftermath) -> None:
    assert left.wrong == []
    assert left.unfinished == []
    assert left.claimed == []
    assert left.stored, "a run without alerts shows nothing"
    assert set(left.heard) == left.stored
    repeated = {number: attempts for number, attempts in left.heard.items() if len(attempts) > 1}
    assert all(len(set(attempts)) == len(attempts) for attempts in repeated.values()), repeated
    assert max(left.recovered.values()) < BACK_S, left.recovered


def test_nothing_is_lost_when_child_and_servers_die(burnt: Aftermath) -> None:
    judge(burnt)
    assert len(burnt.recovered) == 3


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_nothing_is_lost_whatever_dies() -> None:
    with tempfile.TemporaryDirectory(prefix="lv-fire-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with on_fire(Path(folder) / "home", *kills.fresh(symbols=20)) as fire:
            kills.ingest_child(fire)
            kills.ingest_parent(fire)
            kills.boundary_worker(fire)
            kills.server(fire, "valkey")
            kills.server(fire, "postgresql")
            kills.daemon(fire)
            kills.server_away(fire, "valkey")
            kills.server_away(fire, "postgresql")
            judge(fire.end())
