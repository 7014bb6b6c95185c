"""What happened to accounts after their drawn history: a JSON line each, beside the market's anchor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["Journal"]


class Journal:
    """Without a path nothing is kept, and a restart begins with the drawn history."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def note(self, **event: Any) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """All of earlier starts, oldest first; a last line that a kill tore is dropped."""
        if self._path is None or not self._path.exists():
            return []
        text = self._path.read_text()
        whole, _, torn = text.rpartition("\n")
        if torn:
            self._path.write_text(f"{whole}\n" if whole else "")
        return [json.loads(line) for line in whole.splitlines()]
