"""A screen drawn anew until Ctrl-C, without flicker, whatever the terminal's size becomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rich.console import RenderableType
from rich.live import Live

from livermore_dagster.cli.console import console

__all__ = ["watch_screen"]

Draw = Callable[[int, int], Awaitable[RenderableType]]
"""What to show on a terminal of so many columns and lines."""


async def watch_screen(draw: Draw, every_s: float) -> None:
    """On the alternate screen where there is a terminal; else one picture after the other."""
    screen = console()
    if not screen.is_terminal:
        while True:
            screen.print(await draw(screen.width, 10_000))
            await asyncio.sleep(every_s)
    first = await draw(screen.width, screen.height)
    with Live(first, console=screen, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(await draw(screen.width, screen.height), refresh=True)
            await asyncio.sleep(every_s)
