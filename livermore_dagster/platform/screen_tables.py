"""What the live screen of `livermore up` is made of: each part as wide as the terminal lets it be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from livermore_dagster.market.moments import short_text
from livermore_dagster.platform.child import Child, ChildState
from livermore_dagster.platform.plain_table import PlainTable
from livermore_dagster.platform.watch import AlertLine, ExchangeView

__all__ = [
    "NARROW", "TALL", "WIDE", "alerts_table", "ended_text", "exchanges_table", "in_full", "is_ready",
    "memory_text", "processes_line", "processes_table", "tilde", "trouble_lines",
]  # fmt: skip

WIDE = 110
"""Columns of a terminal from which an exchange is told with its full name and a bar of its warm-up."""
NARROW = 72
"""Columns below which an alert's candle is told by its minute."""
TALL = 30
"""Lines of a terminal from which a trouble is told in full."""
BAR_WIDTH = 10
TIME_FROM = 6
"""Where the time begins in '01-05 23:30:00'."""
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


def _table(*columns: tuple[str, str]) -> PlainTable:
    """Name and side of each column; of the last one, words are cut where the line ends."""
    table = PlainTable(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for name, side in columns[:-1]:
        table.add_column(name, justify="right" if side == ">" else "left", no_wrap=True)
    name, side = columns[-1]
    table.add_column(name, justify="right" if side == ">" else "left")
    return table


def _last(text: str, style: str = "") -> Text:
    """For a last column: cut where the line ends."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def tilde(text: str) -> str:
    """The user's own folder as shells write it: addresses then fit."""
    own = str(Path.home())
    return text.replace(own, "~", 1) if own != "/" else text


def _state(state: str) -> Text:
    return Text(f"{MARK.get(state, '◐')} {state}", STATE_STYLE.get(state, "white"))


def is_ready(child: Child) -> bool:
    return child.state is ChildState.READY


def processes_line(children: Sequence[Child], memory: Mapping[str, int]) -> Text:
    """'● 10 processes ready · restarted: valkey 1× · 2,286 MB'; one that is not ready has a row."""
    ready = sum(map(is_ready, children))
    mark, style = ("●", "green") if ready == len(children) else ("▲", "bold yellow")
    count = str(ready) if ready == len(children) else f"{ready} of {len(children)}"
    line = Text.assemble((f"{mark} {count} processes ready", style), no_wrap=True, overflow="ellipsis")
    again = ", ".join(f"{child.spec.name} {child.restarts}×" for child in children if child.restarts)
    line.append(f" · restarted: {again}" if again else "", "bold yellow")
    return line.append(f" · {memory_text(sum(memory.values()))}" if memory else "", "dim")


def processes_table(children: Sequence[Child], memory: Mapping[str, int]) -> PlainTable:
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
            _last(tilde(child.spec.address), "cyan"),
        )
    return table


def in_full(view: ExchangeView) -> bool:
    """Whether an exchange needs a row: one that nobody wants to run needs none while room is short."""
    return view.state != "idle" or view.desired == "running" or bool(view.given_up or view.standbys)


def exchanges_table(views: Sequence[ExchangeView], width: int) -> PlainTable:
    """`width`: columns of the terminal."""
    notes = [view.command or _held_by(view) or _held_only(view) for view in views]
    wide = width >= WIDE
    columns = [("exchange", "<"), ("state", "<")]
    if wide:
        columns += [
            ("warm-up", "<"),
            ("symbols", ">"),
            ("closes/min", ">"),
            ("settled to", ">"),
            ("429", ">"),
        ]
    else:
        columns += [("symbols", ">"), ("closes/min", ">"), ("429", ">"), ("settled to", ">")]
    if any(notes):
        columns.append(("note", "<"))
    table = _table(*columns)
    for view, note in zip(views, notes, strict=True):
        state, active = (
            "paused" if view.paused and view.state == "active" else view.state,
            view.state == "active",
        )
        limited = view.counters.get("http_429", 0)
        symbols = str(len(view.symbols)) if view.symbols else "–"
        rate = f"{view.closes_per_minute:,.0f}" if active else "–"
        settled = short_text(view.settled_ms) if view.settled_ms and active else "–"
        refused = Text(f"{limited:,}", "bold red" if limited else "dim")
        cells: list[RenderableType]
        if wide:
            cells = [view.row.display_name, _state(state), _warmup(view), symbols, rate, settled, refused]
        else:
            told = _state(state) if active else _state(state).append_text(_percent(view))
            cells = [view.row.name, told, symbols, rate, refused, settled[TIME_FROM:] or settled]
        table.add_row(*cells, *([_last(note, "dim")] if any(notes) else []))
    return table


def _held_by(view: ExchangeView) -> str:
    """Where two homes share an exchange: who holds it and who waits."""
    if not view.standbys or view.instance is None:
        return ""
    holder = str(view.instance.get("home") or "").rpartition("/")[2]
    waiting = ", ".join(one.status.home.rpartition("/")[2] for one in view.standbys)
    return f"held by {holder or view.instance.get('hostname')}, {waiting} stands by"


def _held_only(view: ExchangeView) -> str:
    return "held only" if view.mode == "position-monitor" else ""


def trouble_lines(views: Sequence[ExchangeView], width: int, lines: int) -> list[Text]:
    """Why an exchange does not run though it shall, with advice: at most so many lines each."""
    found = []
    for view in views:
        error = (view.desired == "running" and view.state != "active" and view.last_error) or view.given_up
        if error:
            line = f"✖ {view.row.display_name}: {error}"
            room = lines * (width - 2)
            found.append(Text(line if len(line) <= room else f"{line[: room - 1]}…", "red"))
    return found


def _percent(view: ExchangeView) -> Text:
    """' 42 % · 31 s' of a warm-up, '' where there is none."""
    if view.warmup_percent is None:
        return Text("")
    eta = f" · {view.warmup_eta_s:.0f} s" if view.warmup_eta_s else ""
    return Text(f" {view.warmup_percent:.0f} %{eta}")


def _warmup(view: ExchangeView) -> Text:
    if view.state == "active":
        return Text("done", "green")
    if view.warmup_percent is None:
        return Text("–", "dim")
    done = round(view.warmup_percent / 100 * BAR_WIDTH)
    return Text.assemble(("━" * done, UP), ("━" * (BAR_WIDTH - done), "grey37"), _percent(view))


def alerts_table(alerts: Sequence[AlertLine], width: int) -> RenderableType:
    """The newest first. `width`: columns of the terminal."""
    if not alerts:
        return Text("no alert yet", "dim")
    table = _table(
        ("ended" if width < NARROW else "candle end", "<"), ("exchange", "<"), ("symbol", "<"), ("tf", ">"),
        ("alert", "<"), ("MACD-V", ">"), ("", "<"),
    )  # fmt: skip
    for alert in alerts:
        style = "dim strike" if alert.withdrawn else (UP if alert.macdv < 0 else DOWN)
        table.add_row(
            Text(ended_text(alert.candle_end_ms, width), "dim"),
            alert.exchange,
            Text(alert.symbol, "bold"),
            alert.timeframe,
            Text(alert.label.replace("_", " "), style),
            Text(f"{alert.macdv:+,.1f}", style),
            _last("withdrawn" if alert.withdrawn else "", "dim"),
        )
    return table


def ended_text(at_ms: int, width: int) -> str:
    """When an alert's candle ended: '01-05 23:30:00', on a narrow terminal '23:30'."""
    text = short_text(at_ms)
    return text[TIME_FROM:-3] if width < NARROW else text


def memory_text(size: int) -> str:
    """'118 MB', '–' for none."""
    return f"{size / 1_000_000:,.0f} MB" if size else "–"
