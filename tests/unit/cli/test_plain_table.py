"""Tables of the commands: columns move together on a narrow terminal before anything is cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from livermore_dagster.cli.console import plain_table


@pytest.mark.parametrize(("width", "line"), [(40, "abcdef   ghijkl   123456"), (20, "abcdef ghijkl 123456")])
def test_columns_move_together(width: int, line: str) -> None:
    table = plain_table("", ["one", "two"], ["number"], [])
    table.add_row("abcdef", "ghijkl", "123456")
    screen = Console(file=io.StringIO(), width=width)
    screen.print(table)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert line in [one.rstrip() for one in shown.splitlines()]
