"""An account on a running platform: its variables, its fills in Dagster's own web interface, its secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.e2e.platform_run import environment

_NEWEST = """{ assetNodeOrError(assetKey: {path: ["fees", "by_month"]}) { ... on AssetNode {
  assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""


def shell_variables(home: Path) -> dict[str, str]:
    """What a shell has after eval "$(livermore env)"."""
    script = (
        f'eval "$("{sys.executable}" -m livermore_dagster.cli.app env --home "{home}")";'
        f' "{sys.executable}" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    )
    shown = subprocess.run(
        ["sh", "-c", script], env=environment(), capture_output=True, text=True, check=True
    ).stdout
    return dict(json.loads(shown))


def fills_shown(dagster: str) -> int:
    """How many fills the newest fees/by_month speaks of; 0 before there is one."""
    reply = httpx.post(f"{dagster}/graphql", json={"query": _NEWEST}, timeout=60).raise_for_status().json()
    made = reply["data"]["assetNodeOrError"]["assetMaterializations"]
    entries = {one["label"]: one.get("intValue") for one in made[0]["metadataEntries"]} if made else {}
    return int(entries.get("fills") or 0)


def files_with(home: Path, secrets: list[str]) -> list[str]:
    """Files under `home`, logs and databases among them, that hold one of the secrets."""
    wanted = [secret.encode() for secret in secrets]
    found = []
    for folder, _, names in os.walk(home):
        for name in names:
            path = Path(folder) / name
            if path.is_file() and any(one in path.read_bytes() for one in wanted):
                found.append(str(path))
    return found
