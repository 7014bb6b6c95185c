"""What an audit found, in numbers and rows that a person can read; doors only lay them out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from livermore_dagster.audit.cell import Cell

__all__ = ["Row", "Verdict", "judge"]

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
    complete: bool = True
    """False: it ended before all was judged; the numbers say why, and what was found until then counts."""


async def judge(cell: Cell, check: Callable[[Cell], Awaitable[Verdict]]) -> Verdict:
    """What `check` finds in the cell. Over no symbol at all nothing is found: that is no pass."""
    if cell.judged:
        return await check(cell)
    warming = len(cell.symbols)
    words = f"all {warming} symbols are still warming up" if warming else "no symbol is monitored"
    return Verdict(False, {"symbols judged": 0, "not judged": words})
