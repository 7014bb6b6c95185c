"""The live screen of `livermore up`, and its plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from livermore_dagster.market.moments import clock_text, short_text
from livermore_dagster.platform.child import Child, ChildState
from livermore_dagster.platform.processes import family_memory
from livermore_dagster.platform.supervisor import Supervisor
from livermore_dagster.platform.watch import AlertLine, ExchangeView, Watch

__all__ = ["LiveScreen", "PlainLines", "View", "memory_text"]

HEADER_LINES = 4
MIDDLE_WIDTH = 36
BAR_WIDTH = 10
FRAME_LINES = 2
TROUBLE_LINES = 3
TALL = 30
"""Lines of a terminal from which a trouble is told in full."""
TITLED_LINES = FRAME_LINES + 1
"""A frame and the line that names the columns."""
EVENTS_BOXED = 5
EVENTS_BARE = 2
ALERTS_MOST = 20
ROOMY = 12
"""Lines left for alerts and events from which events get a frame of their own."""
REFRESH_S = 1.0
MEMORY_S = 5.0
STATE_STYLE = {
    "ready": "green", "starting": "yellow", "restarting": "bold yellow", "waiting": "dim", "stopped": "dim",
    "failed": "bold red", "active": "bold green", "warming": "yellow", "stopping": "yellow", "idle": "dim",
    "offline": "bold red", "paused": "bold yellow", "?": "dim",
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
        self._lines: deque[Text] = deque(maxlen=EVENTS_BOXED)
        self._live = Live(console=self.console, auto_refresh=False, screen=self.console.is_terminal)
        self.supervisor: Supervisor | None = None
        self.watch: Watch | None = None
        self._live.start()

    def tell(self, line: str) -> None:
        stamp = f"{time.monotonic() - self._begun:6.1f} s  "
        style = "bold red" if line.startswith("ERROR ") or " died " in line else ""
        self._lines.append(Text.assemble((stamp, "dim"), (line, style), no_wrap=True, overflow="ellipsis"))
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
        """The whole screen as it now is, never higher than the terminal while that has 26 lines."""
        supervisor = self.supervisor
        if supervisor is None:
            return Text("LIVERMORE", "bold")
        parts: list[RenderableType] = [self._header(supervisor)]
        parts.append(_panel("processes", _processes(supervisor.children, self._memory)))
        room = self.console.size.height - HEADER_LINES - TITLED_LINES - len(supervisor.children)
        if self.watch is not None and self.watch.exchanges:
            lines = TROUBLE_LINES if self.console.size.height >= TALL else 1
            troubles = _troubles(self.watch.exchanges, self.console.size.width - 4, lines)
            parts.append(_panel("exchanges", Group(_exchanges(self.watch.exchanges), *troubles)))
            room -= TITLED_LINES + len(self.watch.exchanges)
            room -= sum(-(-len(line.plain) // (self.console.size.width - 4)) for line in troubles)
            events = FRAME_LINES + EVENTS_BOXED if room >= ROOMY + TITLED_LINES else EVENTS_BARE
            shown = max(1, min(ALERTS_MOST, room - TITLED_LINES - events))
            parts.append(_panel("last alerts", _alerts(self.watch.alerts[:shown])))
            if events == EVENTS_BARE:
                left = min(EVENTS_BARE, max(0, room - TITLED_LINES - shown))
                return Group(*parts, *(list(self._lines)[-left:] if left else ()))
        parts.append(_panel("events", Group(*self._lines) if self._lines else Text("nothing yet", "dim")))
        return Group(*parts)

    def _header(self, supervisor: Supervisor) -> RenderableType:
        options = supervisor.options
        row = Table.grid(expand=True, padding=(0, 1))
        # The middle says SIMULATED: a long home or address yields to it.
        row.add_column(ratio=1, no_wrap=True)
        row.add_column(justify="center", no_wrap=True, min_width=MIDDLE_WIDTH)
        row.add_column(justify="right", ratio=1, no_wrap=True)
        if options.simulate:
            kind = Text(f"  SIMULATED  seed {options.seed} · {options.speed:g}×  ", "bold black on #ffb300")
        else:
            kind = Text("  LIVE  ", "bold white on #1565c0")
        web = next((c.spec.address for c in supervisor.children if c.spec.name == "web server"), "")
        row.add_row(
            Text("LIVERMORE", "bold"),
            kind,
            Text.assemble(("Dagster ", "dim"), (web, "bold cyan")) if web else Text(""),
        )
        market = Text("")
        if self.watch is not None:
            market = Text.assemble(
                ("market time ", "dim"), (clock_text(self.watch.market_time.now_ms()), "bold")
            )
        metrics = getattr(supervisor, "metrics", None)
        ends = Text("Ctrl-C stops all", "dim")
        if metrics is not None:
            port = Text.assemble(("metrics ", "dim"), (f":{metrics.port}", "cyan"), "  ")
            ends = port + ends
        row.add_row(Text(_tilde(str(options.home)), "dim"), market, ends)
        return Panel(row, border_style="#ffb300" if options.simulate else "#1565c0")


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="grey37", padding=(0, 1))


def _table(*columns: tuple[str, str]) -> Table:
    """Columns as wide as they need; the last one, '' for none, takes and yields what is left of the line."""
    table = Table(box=None, expand=True, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for name, side in columns[:-1]:
        table.add_column(name, justify="right" if side == ">" else "left", no_wrap=True)
    table.add_column(columns[-1][0], ratio=1)
    return table


def _last(text: str, style: str = "") -> Text:
    """For a last column: cut where the line ends."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _tilde(text: str) -> str:
    """The user's own folder as shells write it: addresses then fit."""
    own = str(Path.home())
    return text.replace(own, "~", 1) if own != "/" else text


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
            _last(_tilde(child.spec.address), "cyan"),
        )
    return table


def _exchanges(views: list[ExchangeView]) -> Table:
    table = _table(
        ("exchange", "<"), ("state", "<"), ("warm-up", "<"), ("symbols", ">"), ("closes/min", ">"),
        ("settled to", ">"), ("429", ">"), ("", "<"),
    )  # fmt: skip
    for view in views:
        limited = view.counters.get("http_429", 0)
        table.add_row(
            view.row.display_name,
            _state("paused" if view.paused and view.state == "active" else view.state),
            _warmup(view),
            str(len(view.symbols)) if view.symbols else "–",
            f"{view.closes_per_minute:,.0f}" if view.state == "active" else "–",
            short_text(view.settled_ms) if view.settled_ms and view.state == "active" else "–",
            Text(str(limited), "bold red" if limited else "dim"),
            _last(
                view.command or _held_by(view) or ("held only" if view.mode == "position-monitor" else ""),
                "dim",
            ),
        )
    return table


def _held_by(view: ExchangeView) -> str:
    """Where two homes share an exchange: who holds it and who waits."""
    if not view.standbys or view.instance is None:
        return ""
    holder = str(view.instance.get("home") or "").rpartition("/")[2]
    waiting = ", ".join(one.status.home.rpartition("/")[2] for one in view.standbys)
    return f"held by {holder or view.instance.get('hostname')}, {waiting} stands by"


def _troubles(views: list[ExchangeView], width: int, lines: int) -> list[Text]:
    """Why an exchange does not run though it shall, with advice: at most so many lines each."""
    found = []
    for view in views:
        error = (view.desired == "running" and view.state != "active" and view.last_error) or view.given_up
        if error:
            line = f"✖ {view.row.display_name}: {error}"
            room = lines * (width - 2)
            found.append(Text(line if len(line) <= room else f"{line[: room - 1]}…", "red"))
    return found


def _warmup(view: ExchangeView) -> Text:
    if view.state == "active":
        return Text("done", "green")
    if view.warmup_percent is None:
        return Text("–", "dim")
    done = round(view.warmup_percent / 100 * BAR_WIDTH)
    eta = f" · {view.warmup_eta_s:.0f} s" if view.warmup_eta_s else ""
    return Text.assemble(
        ("━" * done, UP), ("━" * (BAR_WIDTH - done), "grey37"), f" {view.warmup_percent:.0f} %{eta}"
    )


def _alerts(alerts: list[AlertLine]) -> RenderableType:
    if not alerts:
        return Text("none yet", "dim")
    table = _table(
        ("candle end", "<"), ("exchange", "<"), ("symbol", "<"), ("", ">"), ("alert", "<"), ("MACD-V", ">"),
        ("", "<"),
    )  # fmt: skip
    for alert in alerts:
        style = "dim strike" if alert.withdrawn else (UP if alert.macdv < 0 else DOWN)
        table.add_row(
            Text(short_text(alert.candle_end_ms), "dim"),
            alert.exchange,
            Text(alert.symbol, "bold"),
            alert.timeframe,
            Text(alert.label.replace("_", " "), style),
            Text(f"{alert.macdv:+,.1f}", style),
            _last("withdrawn" if alert.withdrawn else "", "dim"),
        )
    return table


def memory_text(size: int) -> str:
    """'118 MB', '–' for none."""
    return f"{size / 1_000_000:,.0f} MB" if size else "–"
