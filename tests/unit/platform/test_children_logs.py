"""Dagster's own processes log as ours do."""

from __future__ import annotations

from pathlib import Path

from livermore_dagster.platform import children
from livermore_dagster.platform.home import Home


def test_dagsters_processes_log_json(tmp_path: Path) -> None:
    home = Home(tmp_path)
    specs = [
        children.code_server(home, {}),
        children.web_server(home, tmp_path / "workspace.yaml", 3000, {}),
        children.daemon(home, tmp_path / "workspace.yaml", "", {}),
    ]
    for spec in specs:
        assert spec.command[spec.command.index("--log-format") + 1] == "json", spec.name
