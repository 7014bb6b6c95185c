"""Where the commands' tables go: as wide as the terminal, or as wide as they need where there is none."""

from __future__ import annotations

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

__all__ = ["PlainTable", "console", "plain_table"]

WIDE = 240
"""Columns for pipes and files: nothing is cut there."""
ENDLESS = 10_000
"""Columns in which any table finds the width it would like to have."""


def console(*, to_stderr: bool = False) -> Console:
    """A console that never cuts a table for a terminal that is not there."""
    found = Console(stderr=to_stderr)
    return found if found.is_terminal else Console(stderr=to_stderr, width=WIDE)


class PlainTable(Table):
    """Text stands as it is: a bracket that a user or an exchange wrote is no markup. Colours come by Text.

    Columns move together where the terminal is too narrow for them, before anything is cut.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = Measurement.get(console, options.update(max_width=ENDLESS), self).maximum
        if needed > options.max_width:
            self.padding = (0, 0)
        yield from super().__rich_console__(console, options)

    def add_row(
        self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False
    ) -> None:
        plain = (Text(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*plain, style=style, end_section=end_section)


def plain_table(title: str, left: list[str], right: list[str], more: list[str]) -> PlainTable:
    """Columns of text, then of numbers, then of text, under one rule."""
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
        table.add_column(name, no_wrap=True)
    return table
