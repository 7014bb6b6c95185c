"""A table that leaves nothing half told where the terminal is narrow."""

from __future__ import annotations

from copy import copy

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

__all__ = ["PlainTable"]

ENDLESS = 10_000
"""Columns in which any table finds the width it would like to have."""
WORDS_LEAST = 20
"""Columns in which sentences still read well."""


class PlainTable(Table):
    """Text stands as it is: a bracket that a user or an exchange wrote is no markup. Colours come by Text.

    Where the terminal is too narrow, columns move together, sentences wrap, and then whole columns are left
    out and named below, from the right, sentences last: half a number is worse than none.
    """

    first: int = 3
    """So many columns say what a row is about; they go last."""

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

        if too_narrow():
            # Without a box nothing but the padding keeps columns apart.
            shown.padding = (0, 0) if shown.box is not None else (0, 1, 0, 0)
        while len(places) > 1 and too_narrow():
            places.remove(
                max(places[1:], key=lambda place: (place >= self.first, not spare.get(place), place))
            )
            shown.columns = [self.columns[place] for place in places]
        yield from Table.__rich_console__(shown, console, options)
        gone = (str(column.header) for place, column in enumerate(self.columns) if place not in places)
        if left_out := ", ".join(name for name in gone if name):
            yield Text(f"wider terminal: {left_out}", "dim")

    def add_row(
        self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False
    ) -> None:
        plain = (Text(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*plain, style=style, end_section=end_section)
