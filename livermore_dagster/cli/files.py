"""Files that commands are given, to read and to write."""

from __future__ import annotations

from pathlib import Path

from livermore_dagster.errors import BadFile

__all__ = ["read_text", "write_file"]


def read_text(file: Path, largest: int, what: str, kind: str) -> str:
    """Of `largest` bytes at most. Raises BadFile: `what` should be in it, in a file of that `kind`."""
    try:
        if file.stat().st_size > largest:
            raise BadFile(f"{file} has more than {largest:,} bytes.", f"{what} are smaller.")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadFile(f"{file} cannot be read: {why}.", f"Name a {kind} file.") from None


def write_file(file: Path, content: bytes) -> None:
    """Raises BadFile."""
    try:
        file.write_bytes(content)
    except OSError as error:
        raise BadFile(f"{file} cannot be written: {error.strerror}.", "Choose another place.") from None
