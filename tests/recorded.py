"""Where the owners' recorded bytes are; they are never copied here, and tests without them use their own."""

from __future__ import annotations

import os
from pathlib import Path

SHARED = Path(os.environ.get("LIVERMORE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def recorded(path: str) -> Path | None:
    """A file of the recorded data, None on a machine that does not have it."""
    found = SHARED / "data" / path
    return found if found.is_file() else None
