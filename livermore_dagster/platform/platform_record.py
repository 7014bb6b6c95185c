"""platform.json: where a running platform is, written by `up` for every command of its home."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from livermore_dagster.platform.child import Child
from livermore_dagster.platform.processes import ProcessId

__all__ = ["write_platform_record"]


def write_platform_record(path: Path, facts: Mapping[str, object], children: Sequence[Child]) -> None:
    """Replaced in one step, readable by its owner only: addresses may hold passwords."""
    up = ProcessId.of("up", os.getpid())
    whole = {
        "pid": up.pid,
        "started": up.started,
        **facts,
        "processes": [
            {
                "name": child.spec.name,
                "pid": child.pid,
                "address": child.spec.address,
                "log": str(child.spec.log),
            }
            for child in children
        ],
    }
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(whole, indent=1))
    fresh.replace(path)
