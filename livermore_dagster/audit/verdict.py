"""What an audit found, in numbers and rows that a person can read; doors only lay them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Row", "Verdict"]

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
