"""The definitions as Dagster sees them: loaded with an empty environment, and their graph as agreed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
from syrupy.assertion import SnapshotAssertion

from livermore_dagster.definitions import defs
from livermore_dagster.market.timeframe import TIMEFRAMES
from livermore_dagster.resources import ACCOUNTS
from sensors.account_fills import ACCOUNT_ASSETS

ROOT = Path(__file__).parents[3]

LOAD = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("definitions opened a socket")
socket.socket.connect = refuse
from livermore_dagster.definitions import defs
from dagster import Definitions
Definitions.validate_loadable(defs)
heavy = {"pandas", "ta", "matplotlib", "scipy"} & set(sys.modules)
assert not heavy, f"loaded with the definitions: {heavy}"
sensors = defs.get_repository_def().sensor_defs
assert all(one.default_status.value == "STOPPED" for one in sensors)
"""


def test_definitions_load_without_environment_network_or_heavy_libraries(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-W", "error::SyntaxWarning", "-c", LOAD], env=environment, check=True)


def test_sensors_run_by_default_only_under_up(tmp_path: Path) -> None:
    code = (
        "from livermore_dagster.definitions import defs\n"
        "assert all(one.default_status.value == 'RUNNING' for one in defs.get_repository_def().sensor_defs)"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "LIVERMORE_UP": "1",
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_no_schedule_and_no_cron() -> None:
    repository = defs.get_repository_def()
    assert repository.schedule_defs == []
    graph = repository.asset_graph
    assert all(graph.get(key).automation_condition is None for key in graph.get_all_asset_keys())


def test_the_root_is_short() -> None:
    lines = (ROOT / "livermore_dagster" / "definitions.py").read_text().splitlines()
    assert len(lines) <= 60


def test_every_asset_is_described_owned_and_partitioned_by_exchange_or_account() -> None:
    graph = defs.get_repository_def().asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description
        assert node.owners == ["team:livermore"]
        assert node.kinds
        assert node.partitions_def is not None
        if node.partitions_def == ACCOUNTS:
            assert node.group_name in ("account", "fees")
            continue
        assert node.group_name == key.path[0]
        assert node.partitions_def.get_partition_keys() == [
            "coinbase",
            "binance",
            "binance_us",
            "kraken",
            "kucoin",
            "mexc",
        ]


def test_asset_graph(snapshot: SnapshotAssertion) -> None:
    """Regenerate with `pytest tests/unit/dagster --snapshot-update`."""
    graph = defs.get_repository_def().asset_graph
    lines = []
    paths = [[layer, tf.value] for layer in ("candles", "macdv", "indicators") for tf in TIMEFRAMES]
    for path in [*paths, *ACCOUNT_ASSETS]:
        node = graph.get(dg.AssetKey(path))
        parents = sorted(parent.to_user_string() for parent in node.parent_keys)
        checks = sorted(check.name for check in node.check_keys)
        lines.append(
            f"{node.key.to_user_string()} <- {parents} v{node.code_version} {sorted(node.kinds)} {checks}"
        )
    assert "\n".join(lines) == snapshot
