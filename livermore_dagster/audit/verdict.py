"""What an audit found, in numbers and rows that a person can read; doors only lay them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

__all__ = ["Row", "Verdict", "utc"]

Row = dict[str, str | int | float | None]
"""A line of a table; the first row's names are the columns."""


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    numbers: Mapping[str, str | int]
    """By what they are: 'candles compared', 'bars missing' …"""
    rows_title: str = "first 50"
    rows: list[Row] = field(default_factory=list)
    """What was found wrong, one by one."""


def utc(at_ms: int | None) -> str:
    """Epoch milliseconds as text for people, UTC; seconds only where there are some."""
    if at_ms is None:
        return "never"
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S" if at.second else "%Y-%m-%d %H:%M")
