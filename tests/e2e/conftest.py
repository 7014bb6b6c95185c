"""The platform that two modules share: killed in part, ended, then started again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import kills
from tests.e2e.under_fire import Aftermath, on_fire


@pytest.fixture(scope="session")
def burnt() -> Iterator[Aftermath]:
    """What a platform left behind whose ingest process and servers were killed in mid-flow."""
    folder = Path(tempfile.mkdtemp(prefix="lv-fire-"))
    folder.chmod(0o755)
    try:
        with on_fire(folder / "home", *kills.fresh(symbols=8)) as fire:
            kills.ingest_child(fire)
            kills.server(fire, "valkey")
            kills.server(fire, "postgresql")
            aftermath = fire.end()
        yield aftermath
    finally:
        shutil.rmtree(folder, ignore_errors=True)
