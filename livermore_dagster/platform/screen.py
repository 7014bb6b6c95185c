"""The live screen of `livermore up`, and its plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from datetime import UTC, datetime
from typing import Protocol

from rich.align import Align
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from livermore_dagster.platform.child import Child, ChildState
from livermore_dagster.platform.processes import family_memory
from livermore_dagster.platform.supervisor import Supervisor
from livermore_dagster.platform.watch import AlertLine, ExchangeView, Watch

__all__ = ["LiveScreen", "PlainLines", "View", "memory_text", "time_text"]

REFRESH_S = 1.0
MEMORY_S = 5.0
STATE_STYLE = {
    "ready": "green", "starting": "yellow", "restarting": "bold yellow", "waiting": "dim", "stopped": "dim",
    "failed": "bold red", "active": "bold green", "warming": "yellow", "stopping": "yellow", "idle": "dim",
    "offline": "bold red", "?": "dim",
}  # fmt: skip
MARK = {
    "ready": "●",
    "active": "●",
    "failed": "✖",
    "offline": "✖",
    "idle": "○",
    "waiting": "○",
    "stopped": "○",
}
UP = "#26a69a"
DOWN = "#ef5350"


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
        self._lines: deque[Text] = deque(maxlen=5)
        self._live = Live(console=self.console, auto_refresh=False, screen=self.console.is_terminal)
        self.supervisor: Supervisor | None = None
        self.watch: Watch | None = None
        self._live.start()

    def tell(self, line: str) -> None:
        stamp = f"{time.monotonic() - self._begun:6.1f} s  "
        self._lines.append(Text.assemble((stamp, "dim"), line))
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
            self.watch.refresh()
        self._live.update(self.render(), refresh=True)

    def close(self) -> None:
        self._live.stop()
        for line in self._lines:
            self.console.print(line)

    def render(self) -> RenderableType:
        """The whole screen as it now is."""
        supervisor = self.supervisor
        parts: list[RenderableType] = [self._header()]
        if supervisor is not None:
            parts.append(_panel("processes", _processes(supervisor.children, self._memory)))
        if self.watch is not None and self.watch.exchanges:
            parts.append(_panel("exchanges", _exchanges(self.watch.exchanges)))
            parts.append(_panel("last alerts", _alerts(self.watch.alerts)))
        parts.append(_panel("events", Group(*self._lines) if self._lines else Text("nothing yet", "dim")))
        return Group(*parts)

    def _header(self) -> RenderableType:
        if self.supervisor is None:
            return Text("LIVERMORE", "bold")
        options = self.supervisor.options
        row = Table.grid(expand=True, padding=(0, 1))
        row.add_column(ratio=1)
        row.add_column(justify="center", ratio=1)
        row.add_column(justify="right", ratio=1)
        kind = (
            Text(f"  SIMULATED  seed {options.seed} · {options.speed:g}×  ", "bold black on #ffb300")
            if options.simulate
            else Text("  LIVE  ", "bold white on #1565c0")
        )
        market = ""
        if self.watch is not None:
            market = "market " + time_text(self.watch.market_time.now_ms())
        row.add_row(Text(f"LIVERMORE  {market}", "bold"), kind, Text("Ctrl-C stops all", "dim"))
        web = next((c.spec.address for c in self.supervisor.children if c.spec.name == "web server"), "")
        row.add_row(Text(str(options.home), "dim"), Text(""), Text(f"Dagster {web}" if web else "", "cyan"))
        return Panel(row, border_style="#ffb300" if options.simulate else "#1565c0")


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="grey37", padding=(0, 1))


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, expand=True, header_style="dim", padding=(0, 1))
    for name, side in columns:
        table.add_column(name, justify="right" if side == ">" else "left", no_wrap=True)
    return table


def _state(state: str) -> Text:
    return Text(f"{MARK.get(state, '◐')} {state}", STATE_STYLE.get(state, "white"))


def _processes(children: list[Child], memory: dict[str, int]) -> Table:
    table = _table(
        ("process", "<"), ("state", "<"), ("pid", ">"), ("memory", ">"), ("restarts", ">"), ("address", "<")
    )
    for child in children:
        table.add_row(
            child.spec.name,
            _state(child.state.value),
            str(child.pid or "–"),
            memory_text(memory.get(child.spec.name, 0)) if child.state is not ChildState.STOPPED else "–",
            Text(str(child.restarts), "bold yellow" if child.restarts else "dim"),
            Text(child.spec.address, "cyan"),
        )
    return table


def _exchanges(views: list[ExchangeView]) -> Table:
    table = _table(
        ("exchange", "<"), ("state", "<"), ("warm-up", "<"), ("symbols", ">"), ("closes/min", ">"),
        ("settled to", ">"), ("429", ">"), ("trouble", "<"),
    )  # fmt: skip
    for view in views:
        limited = view.counters.get("http_429", 0)
        table.add_row(
            view.row.display_name,
            _state(view.state),
            _warmup(view),
            str(len(view.symbols)) if view.symbols else "–",
            f"{view.closes_per_minute:,.0f}" if view.state == "active" else "–",
            time_text(view.settled_ms) if view.settled_ms and view.state == "active" else "–",
            Text(str(limited), "bold red" if limited else "dim"),
            Text((view.last_error or "")[:40], "red"),
        )
    return table


def _warmup(view: ExchangeView) -> RenderableType:
    if view.state == "active":
        return Text("done", "green")
    if view.warmup_percent is None:
        return Text("–", "dim")
    row = Table.grid(padding=(0, 1))
    eta = f" · {view.warmup_eta_s:.0f} s left" if view.warmup_eta_s else ""
    bar = ProgressBar(100, view.warmup_percent, width=14, complete_style=UP)
    row.add_row(bar, f"{view.warmup_percent:3.0f} %{eta}")
    return row


def _alerts(alerts: list[AlertLine]) -> RenderableType:
    if not alerts:
        return Align.left(Text("none yet", "dim"))
    table = _table(
        ("candle end", "<"), ("exchange", "<"), ("symbol", "<"), ("", "<"), ("alert", "<"), ("MACD-V", ">")
    )
    for alert in alerts:
        style = "dim strike" if alert.withdrawn else (UP if alert.macdv < 0 else DOWN)
        table.add_row(
            Text(time_text(alert.candle_end_ms), "dim"),
            alert.exchange,
            Text(alert.symbol, "bold"),
            alert.timeframe,
            Text.assemble((alert.label.replace("_", " "), style)),
            Text.assemble((f"{alert.macdv:,.1f}", style)),
        )
    return table


def memory_text(size: int) -> str:
    """'118 MB', '–' for none."""
    return f"{size / 1_000_000:,.0f} MB" if size else "–"


def time_text(at_ms: int) -> str:
    """'01-05 23:30:00', UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%m-%d %H:%M:%S")
