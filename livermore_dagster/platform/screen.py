"""The live screen of `livermore up`, and its plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from livermore_dagster.market.moments import clock_text
from livermore_dagster.platform.processes import family_memory
from livermore_dagster.platform.screen_tables import (
    TALL,
    WIDE,
    alerts_table,
    exchanges_table,
    in_full,
    is_ready,
    processes_line,
    processes_table,
    tilde,
    trouble_lines,
)
from livermore_dagster.platform.supervisor import Supervisor
from livermore_dagster.platform.watch import Watch

__all__ = ["LiveScreen", "PlainLines", "View"]

MIDDLE_WIDTH = 36
FRAME_LINES = 2
FRAME_COLUMNS = 4
TITLE_LINES = 1
"""The line that names the columns."""
TROUBLE_LINES = 3
EVENTS_BOXED = 5
EVENTS_BARE = 2
EVENT_LINES = 2
ALERTS_MOST = 20
ALERTS_LEAST = 3
"""Alerts that are always seen: processes that are ready, idle exchanges, then frames make room for them."""
ROOMY = 12
"""Lines left for alerts and events from which events get a frame of their own."""
REFRESH_S = 1.0
MEMORY_S = 5.0


@dataclass(frozen=True)
class Fold:
    """What gives way where a terminal is low."""

    processes: bool = False
    """Those that are ready share a line; the others keep their rows."""
    idle: bool = False
    """Exchanges that nobody wants to run share a line."""
    frames: bool = False
    """There are none."""


FOLDS = (Fold(), Fold(processes=True), Fold(processes=True, idle=True), Fold(True, True, True))
"""In this order, until there is room enough."""


class View(Protocol):
    """Who shows what the supervisor does."""

    def tell(self, line: str) -> None: ...

    def refresh(self) -> None:
        """Called every tenth of a second."""
        ...

    def close(self) -> None: ...


class PlainLines:
    """One line on standard error for each step: for logs, pipes and `--json`."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def tell(self, line: str) -> None:
        print(f"[{time.monotonic() - self._begun:6.1f} s] {line}", file=sys.stderr, flush=True)  # noqa: T201

    def refresh(self) -> None: ...

    def close(self) -> None: ...


class LiveScreen:
    """Processes, exchanges, alerts and the last words, redrawn once a second."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._measured = 0.0
        self._memory: dict[str, int] = {}
        self._lines: deque[Text] = deque(maxlen=EVENTS_BOXED)
        self._live = Live(console=self.console, auto_refresh=False, screen=self.console.is_terminal)
        self.supervisor: Supervisor | None = None
        self.watch: Watch | None = None
        self._live.start()

    def tell(self, line: str) -> None:
        stamp = f"{time.monotonic() - self._begun:6.1f} s  "
        style = "bold red" if line.startswith("ERROR ") or " died " in line else ""
        self._lines.append(Text.assemble((stamp, "dim"), (line, style)))
        self._drawn = 0.0

    def refresh(self) -> None:
        now = time.monotonic()
        if now - self._drawn < REFRESH_S or self.supervisor is None:
            return
        self._drawn = now
        if now - self._measured > MEMORY_S:
            self._measured = now
            self._memory = {
                child.spec.name: family_memory(child.pid) for child in self.supervisor.children if child.pid
            }
        if self.watch is not None:
            self.watch.refresh(alerts=ALERTS_MOST)
        self._live.update(self.render(), refresh=True)

    def close(self) -> None:
        self._live.stop()
        for line in self._lines:
            self.console.print(line)

    def render(self) -> RenderableType:
        """The whole screen as it now is, never higher than the terminal while that has 24 lines."""
        supervisor = self.supervisor
        if supervisor is None:
            return Text("LIVERMORE", "bold")
        width, height = self.console.size
        watch = self.watch if self.watch is not None and self.watch.exchanges else None
        for fold in FOLDS:
            frame = 0 if fold.frames else FRAME_LINES
            top = self._top(supervisor, fold)
            room = height - self._height(top) - frame
            if room >= (EVENTS_BOXED if watch is None else TITLE_LINES + ALERTS_LEAST + EVENTS_BARE):
                break
        if watch is None:
            return Group(*top, self._events(room, framed=not fold.frames))
        roomy = room >= ROOMY + TITLE_LINES
        events = FRAME_LINES + EVENTS_BOXED if roomy else EVENTS_BARE
        shown = max(1, min(ALERTS_MOST, room - TITLE_LINES - events))
        alerts = _part("last alerts", alerts_table(watch.alerts[:shown], width), framed=not fold.frames)
        if roomy:
            return Group(*top, alerts, self._events(EVENTS_BOXED, framed=True))
        return Group(*top, alerts, self._events(room + frame - self._height([alerts]), framed=False))

    def _top(self, supervisor: Supervisor, fold: Fold) -> list[RenderableType]:
        """What always is there: who we are, processes and exchanges."""
        width, height = self.console.size
        framed = not fold.frames
        parts: list[RenderableType] = [self._header(supervisor, fold)]
        children = [child for child in supervisor.children if not fold.processes or not is_ready(child)]
        if children:
            parts.append(_part("processes", processes_table(children, self._memory), framed=framed))
        views = self.watch.exchanges if self.watch is not None else []
        if views:
            told = [view for view in views if not fold.idle or in_full(view)]
            idle = ", ".join(view.row.name for view in views if view not in told)
            lines = TROUBLE_LINES if height >= TALL else 1
            content: list[RenderableType] = [exchanges_table(told, width)] if told else []
            if idle:
                content.append(Text(f"○ idle: {idle}", "dim", no_wrap=True, overflow="ellipsis"))
            content += trouble_lines(views, width - FRAME_COLUMNS, lines)
            parts.append(_part("exchanges", Group(*content), framed=framed))
        return parts

    def _height(self, parts: Sequence[RenderableType]) -> int:
        return len(
            self.console.render_lines(Group(*parts), self.console.options.update(height=None), pad=False)
        )

    def _events(self, lines: int, *, framed: bool) -> RenderableType:
        """The newest that fit. Each may take two lines; where these end it is cut."""
        width = self.console.size.width - (FRAME_COLUMNS if framed else 0)
        shown: list[Text] = []
        for event in reversed(self._lines):
            wrapped = list(event.wrap(self.console, width))
            told = wrapped[:EVENT_LINES] if shown else wrapped[: min(EVENT_LINES, lines)]
            if not told or len(shown) + len(told) > lines:
                break
            if len(told) < len(wrapped):
                told[-1].rstrip()
                told[-1].truncate(width - 1)
                told[-1].append("…")
            shown = [*told, *shown]
        if framed:
            return _part("events", Group(*shown) if shown else Text("nothing yet", "dim"), framed=True)
        return Group(*shown)

    def _header(self, supervisor: Supervisor, fold: Fold) -> RenderableType:
        options, metrics = supervisor.options, getattr(supervisor, "metrics", None)
        kind = Text("  LIVE  ", "bold white on #1565c0")
        if options.simulate:
            kind = Text(f"  SIMULATED  seed {options.seed} · {options.speed:g}×  ", "bold black on #ffb300")
        web = next((c.spec.address for c in supervisor.children if c.spec.name == "web server"), "")
        dagster = Text.assemble(("Dagster ", "dim"), (web, "bold cyan")) if web else Text("")
        market = Text(clock_text(self.watch.market_time.now_ms()) if self.watch else "", "bold")
        port = Text.assemble(("metrics ", "dim"), (f":{metrics.port}", "cyan")) if metrics else Text("")
        ends, home = Text("Ctrl-C stops all", "dim"), tilde(str(options.home))
        processes = processes_line(supervisor.children, self._memory) if fold.processes else Text("")
        edge = "#ffb300" if options.simulate else "#1565c0"
        if self.console.size.width < WIDE:
            pairs = _pairs((kind, market), (dagster, ends), (processes, port))
            return pairs if fold.frames else _panel(f"LIVERMORE  {home}", pairs, edge)
        named = Text.assemble(("market time ", "dim"), market) if market else market
        row = Table.grid(expand=True, padding=(0, 1))
        # The middle says SIMULATED: a long home or address yields to it.
        row.add_column(ratio=1, no_wrap=True)
        row.add_column(justify="center", no_wrap=True, min_width=MIDDLE_WIDTH)
        row.add_column(justify="right", ratio=1, no_wrap=True)
        row.add_row(Text("LIVERMORE", "bold"), kind, dagster)
        row.add_row(Text(home, "dim"), named, Text("  ").join(one for one in (port, ends) if one))
        content = Group(row, processes) if processes else row
        return content if fold.frames else _panel("", content, edge)


def _pairs(*rows: tuple[Text, Text]) -> Group:
    """What stands at the left of a line, and yields to what stands at its right."""
    lines = []
    for left, right in rows:
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(no_wrap=True, ratio=1)
        line.add_column(justify="right", no_wrap=True)
        # Of an assembled text the background ends where the words do.
        line.add_row(Text.assemble(left), right)
        lines.append(line)
    return Group(*lines)


def _part(title: str, content: RenderableType, *, framed: bool) -> RenderableType:
    """Without a frame the names of the columns say what it is."""
    return _panel(title, content, "grey37") if framed else content


def _panel(title: str, content: RenderableType, edge: str) -> Panel:
    return Panel(
        content, title=Text(title) if title else None, title_align="left", border_style=edge, padding=(0, 1)
    )
