"""Where the owners' recorded bytes are; they are never copied here."""

from __future__ import annotations

import os
from pathlib import Path

SHARED = Path(os.environ.get("LIVERMORE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def recorded(path: str) -> Path:
    """A file of the recorded data. A test fails without it: passed, it would have seen nothing."""
    found = SHARED / "data" / path
    if not found.is_file():
        raise FileNotFoundError(
            f"No recorded data at {found}. Put the folder `shared` beside the project, or name it in "
            "LIVERMORE_SHARED."
        )
    return found
