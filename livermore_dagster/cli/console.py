"""Where the commands' tables go: as wide as the terminal, or as wide as they need where there is none."""

from __future__ import annotations

from copy import copy

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
WORDS_LEAST = 20
"""Columns in which sentences still read well."""
FIRST = 3
"""So many columns say what a row is about; they go last."""


def console(*, to_stderr: bool = False) -> Console:
    """A console that never cuts a table for a terminal that is not there."""
    found = Console(stderr=to_stderr)
    return found if found.is_terminal else Console(stderr=to_stderr, width=WIDE)


class PlainTable(Table):
    """Text stands as it is: a bracket that a user or an exchange wrote is no markup. Colours come by Text.

    Where the terminal is too narrow, columns move together, sentences wrap, and then whole columns are left
    out and named below, from the right, sentences last: half a number is worse than none.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        endless = options.update(max_width=ENDLESS)
        # Columns of the terminal that a sentence can give up.
        spare: dict[int, int] = {}
        for place, column in enumerate(self.columns):
            if not column.no_wrap:
                widths = (Measurement.get(console, endless, cell).maximum for cell in column.cells)
                spare[place] = max(0, max(widths, default=0) - WORDS_LEAST)
        shown, places = copy(self), list(range(len(self.columns)))

        def too_narrow() -> bool:
            needed = Measurement.get(console, endless, shown).maximum
            return needed - sum(spare.get(place, 0) for place in places) > options.max_width

        if shown.box is not None and too_narrow():
            shown.padding = (0, 0)
        while len(places) > 1 and too_narrow():
            places.remove(max(places[1:], key=lambda place: (place >= FIRST, not spare.get(place), place)))
            shown.columns = [self.columns[place] for place in places]
        yield from Table.__rich_console__(shown, console, options)
        left_out = [column.header for place, column in enumerate(self.columns) if place not in places]
        if left_out:
            yield Text(f"wider terminal: {', '.join(str(name) for name in left_out if name)}", "dim")

    def add_row(
        self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False
    ) -> None:
        plain = (Text(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*plain, style=style, end_section=end_section)


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
