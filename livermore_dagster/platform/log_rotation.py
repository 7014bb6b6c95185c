"""Keeps the log files of a running platform bounded, whoever writes them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import structlog

__all__ = ["rotate_logs"]

log = structlog.stdlib.get_logger(__name__)

FILE_BYTES: Final = 20_000_000
KEPT: Final = 3
"""Older parts beside each file: NAME.1 is the newest of them."""
_PATTERNS: Final = ("*.log", "*.jsonl")


def rotate_logs(folder: Path, limit_bytes: int = FILE_BYTES) -> list[Path]:
    """Move what every log above the limit holds into NAME.1, dropping NAME.3; returns the logs cut.

    The file is copied and cut, not renamed: servers, Celery's children and Dagster hold it open for good,
    several at once. All of them append, so they go on at its new end.
    """
    cut = []
    for path in sorted(found for pattern in _PATTERNS for found in folder.glob(pattern)):
        try:
            if path.stat().st_size > limit_bytes:
                _cut(path)
                cut.append(path)
        except OSError as error:
            log.warning("log_not_rotated", path=str(path), error=str(error))
    return cut


def _cut(path: Path) -> None:
    # Copied first: on a full disk the older parts stay as they are.
    copy = path.with_name(f"{path.name}.new")
    try:
        shutil.copyfile(path, copy)
    except OSError:
        copy.unlink(missing_ok=True)
        raise
    for number in range(KEPT, 1, -1):
        newer = _part(path, number - 1)
        if newer.exists():
            newer.replace(_part(path, number))
    copy.replace(_part(path, 1))
    os.truncate(path, 0)


def _part(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
