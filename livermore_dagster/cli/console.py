"""Where the commands' tables go: as wide as the terminal, or as wide as they need where there is none."""

from __future__ import annotations

from rich import box
from rich.console import Console

from livermore_dagster.platform.plain_table import PlainTable

__all__ = ["PlainTable", "console", "plain_table"]

WIDE = 240
"""Columns for pipes and files: nothing is cut there."""


def console(*, to_stderr: bool = False) -> Console:
    """A console that never cuts a table for a terminal that is not there."""
    found = Console(stderr=to_stderr)
    return found if found.is_terminal else Console(stderr=to_stderr, width=WIDE)


def plain_table(title: str, left: list[str], right: list[str], more: list[str]) -> PlainTable:
    """Columns of text, then of numbers, then of text that may wrap, under one rule."""
    table = PlainTable(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    for name in more:
        table.add_column(name, overflow="fold")
    return table
