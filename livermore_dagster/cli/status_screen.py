"""`livermore status --watch`: one screen of what matters, 80 × 24 at least, redrawn without flicker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from livermore_dagster.cli.board_table import age_text
from livermore_dagster.market.moments import clock_text
from livermore_dagster.platform.plain_table import PlainTable
from livermore_dagster.platform.screen_tables import NARROW, TALL, ended_text, memory_text

__all__ = ["header", "home_text", "homes_line", "state_text", "status_view"]

HEALTH = {
    "ok": ("●", "green"), "idle": ("○", "dim"), "starting": ("◐", "yellow"), "paused": ("‖", "bold yellow"),
    "degraded": ("▲", "bold yellow"), "down": ("✖", "bold red"),
}  # fmt: skip
SEVERITY = {"error": "bold red", "info": "green"}
WIDE = 110
CHANNELS, CHANNELS_LOW = 4, 1
"""Channels that are told of on a high terminal, and on one of 24 lines."""
SOUND = ("ready", "sending")
TITLE_WIDTH = 10
LINES_OF_TROUBLE = 2
"""So many lines each trouble may take."""

Facts = Mapping[str, Any]


def header(facts: Facts, *, note: str = "") -> Text:
    if facts["simulated"]:
        kind = (f" SIMULATED {facts['provenance']} · {facts['speed']:g}× ", "bold black on #ffb300")
    else:
        kind = (" LIVE ", "bold white on #1565c0")
    market = clock_text(facts["market_time_ms"])
    return Text.assemble(("LIVERMORE ", "bold"), kind, f" {market} ", (note, "dim"))


def state_text(exchange: Facts) -> str:
    """'active', 'paused', 'warming 75 %, 12 s left', 'active, held only', 'active · pause by root'."""
    warmup, state = exchange["warmup"], str(exchange["state"])
    if exchange.get("paused") and state == "active":
        state = "paused"
    if exchange.get("mode") == "position-monitor" and state in ("active", "paused"):
        state += ", held only"
    if warmup is not None:
        left = f", {warmup['eta_s']:.0f} s left" if warmup["eta_s"] else ""
        state += f" {warmup['percent']:.0f} %{left}"
    return f"{state} · {exchange['command']}" if exchange.get("command") else state


def home_text(home: object, facts: Facts) -> str:
    """'box' of 'box:/srv/livermore'; where homes share their host, 'box:livermore'. '' for none."""
    host, _, path = str(home or "").partition(":")
    same_host = sum(str(one["home"]).partition(":")[0] == host for one in facts["homes"]) > 1
    return f"{host}:{path.rpartition('/')[2]}" if same_host else host


def homes_line(facts: Facts) -> Table:
    """The homes that share these servers, and which one runs Dagster's daemon."""
    names = [home_text(one["home"], facts) + (" (daemon)" if one["daemon"] else "") for one in facts["homes"]]
    waiting: dict[str, list[str]] = {}
    for name, one in facts["exchanges"].items():
        for standby in one["standbys"]:
            waiting.setdefault(home_text(standby["home"], facts), []).append(name)
    stands = [f"{home} stands by for {', '.join(exchanges)}" for home, exchanges in waiting.items()]
    return _line("homes", " · ".join([", ".join(names), *stands]))


def status_view(facts: Facts, width: int, height: int) -> RenderableType:
    """All sections; incidents and alerts take the lines that are left, and yield first."""
    note = "Ctrl-C ends" if width >= NARROW else ""
    top: list[RenderableType] = [header(facts, note=note), _exchanges(facts, width)]
    top += [*_troubles(facts, width), *_figures(facts)]
    if len(facts["homes"]) > 1:
        top.append(homes_line(facts))
    bottom: list[RenderableType] = [*_notifications(facts, height), *_links(facts, width)]
    left = height - _height([*top, *bottom], width)
    incidents, alerts = facts["incidents"], facts["alerts"]
    middle: list[RenderableType] = [] if incidents else [Text("incidents  none yet", "dim")]
    if told := _fitting(lambda n: _incidents(incidents[:n], width), len(incidents), (left + 1) // 2, width):
        middle.append(told)
    left -= _height(middle, width)
    if shown := _fitting(lambda n: _alerts(alerts[:n], width), len(alerts), left, width):
        middle.append(shown)
    return Group(*top, *middle, *bottom)


def _height(parts: Sequence[RenderableType], width: int) -> int:
    screen = Console(width=width)
    return len(screen.render_lines(Group(*parts), pad=False))


def _fitting(table: Callable[[int], Table], most: int, lines: int, width: int) -> Table | None:
    """With as many rows, of a line each, as so many lines hold; None where they hold none."""
    count = min(most, lines - 1)
    if count > 0 and _height([table(count)], width) > lines:
        count -= 1
    return table(count) if count > 0 else None


def _grid(*columns: tuple[str, str]) -> PlainTable:
    """Name and side of each column; the words of the last end where the line does."""
    table = PlainTable(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for name, side in columns[:-1]:
        table.add_column(name, justify="right" if side == ">" else "left", no_wrap=True)
    table.add_column(columns[-1][0])
    return table


def _exchanges(facts: Facts, width: int) -> Table:
    table = _grid(
        ("exchange", "<"), ("state", "<"), ("symbols", ">"), ("closes/min", ">"), ("429", ">"),
        ("backlog", ">"), ("settled", ">"), ("beat", ">"), ("lines" if width < WIDE else "lines up", "<"),
    )  # fmt: skip
    for name, one in facts["exchanges"].items():
        mark, style = HEALTH[one["health"]]
        limited = one["counters"].get("http_429", 0)
        running = one["state"] in ("warming", "active")
        lag, beat = one["settled_lag_s"], one["heartbeat_age_s"]
        table.add_row(
            Text(name, "bold"),
            Text(f"{mark} {state_text(one)}", style),
            str(len(one["symbols"])) if one["symbols"] else "–",
            f"{one['closes_per_minute']:,.0f}" if one["state"] == "active" else "–",
            Text(f"{limited:,}", "bold red" if limited else "dim"),
            f"{max(one['backlog'].values(), default=0):,}" if running else "–",
            "–" if lag is None else f"-{age_text(int(lag * 1000))}",
            "–" if beat is None else f"{beat:.0f}s",
            f"{one['connections_up']}/{one['connections']}" if running else "–",
        )
    return table


def _troubles(facts: Facts, width: int) -> list[Text]:
    """What somebody should look at, each within its lines."""
    degraded = [
        f"{name}: {'; '.join(one['wrong'])}"
        for name, one in facts["exchanges"].items()
        if one["health"] == "degraded"
    ]
    dead = [process["name"] for process in facts["processes"] if not process["alive"]]
    if dead:
        degraded.append(f"not running now: {', '.join(dead)}")
    room = LINES_OF_TROUBLE * (width - 4)
    found = []
    for line in [*facts["trouble"], *degraded]:
        shown = line if len(line) <= room else f"{line[: room - 1]}…"
        found.append(Text(f"✖ {shown}", "red"))
    return found


def _figures(facts: Facts) -> list[RenderableType]:
    totals: dict[str, int] = {}
    for one in facts["exchanges"].values():
        for name, value in one["counters"].items():
            key = "requests" if name.startswith("rest_requests:") else name
            totals[key] = totals.get(key, 0) + value
    latency = facts["latency_ms"]["close_to_alert"]
    memory = sum(process["memory_bytes"] for process in facts["processes"])
    counts = (
        f"alerts {totals.get('alerts_stored', 0):,} · closes {totals.get('closes', 0):,} · REST requests "
        f"{totals.get('requests', 0):,} · reconnects {totals.get('reconnects', 0):,}"
    )
    speeds = f"{len(facts['processes'])} processes, {memory_text(memory)}"
    if latency["n"]:
        speeds += f" · close to alert p50 {latency['p50']:,.0f} ms, p99 {latency['p99']:,.0f} ms"
    return [_line("figures", counts), _line("", speeds)]


def _line(title: str, text: str | Text, style: str = "") -> Table:
    """What is told beside its title, on more lines where one is too short."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=TITLE_WIDTH)
    table.add_column()
    table.add_row(Text(title, "dim"), Text(text, style) if isinstance(text, str) else text)
    return table


def _incidents(lines: Sequence[Facts], width: int) -> Table:
    table = _grid(("incident", "<"), ("exchange", "<"), ("times", ">"), ("ago", ">"), ("what it means", "<"))
    now_ms = time.time_ns() // 1_000_000
    for line in lines:
        table.add_row(
            Text(line["name"], SEVERITY.get(line["severity"], "")),
            line["exchange"],
            f"{line['times']:,}",
            age_text(max(0, now_ms - line["at_ms"])),
            Text(line["words"], "dim" if width < WIDE else "", no_wrap=True, overflow="ellipsis"),
        )
    return table


def _alerts(alerts: Sequence[Facts], width: int) -> Table:
    table = _grid(
        ("last alerts", "<"), ("exchange", "<"), ("symbol", "<"), ("tf", ">"), ("label", "<"), ("MACD-V", "<")
    )
    for one in alerts:
        style = "dim strike" if one["withdrawn"] else "green" if one["macdv"] < 0 else "red"
        ended = Text(ended_text(one["candle_end_ms"], width), "dim")
        table.add_row(
            ended, one["exchange"], Text(one["symbol"], "bold"),
            one["timeframe"], Text(one["label"], style), Text(f"{one['macdv']:+.1f}", style),
        )  # fmt: skip
    return table


def _notifications(facts: Facts, height: int) -> list[RenderableType]:
    found = facts["notifications"]
    if found is None:
        return []
    if not found["channels"]:
        state = "the notifier is at work" if found["notifier"] else "no notifier is at work"
        return [_line("notify", f"{state}; no channel yet: livermore notify add --help", "dim")]
    lines: list[RenderableType] = []
    # What fares badly is told first.
    channels = sorted(found["channels"], key=lambda one: one["state"] in SOUND)
    most = CHANNELS if height >= TALL else CHANNELS_LOW
    for place, one in enumerate(channels[:most]):
        words = f"{one['channel']} of {one['user']}: {one['state']}"
        counts = f" · 24 h: {one['sent']} sent, {one['failed']} failed, {one['pending']} wait"
        text = Text.assemble((words, "green" if one["state"] in SOUND else "yellow"), counts)
        if place == most - 1 and len(channels) > most:
            bad = sum(other["state"] not in SOUND for other in channels[most:])
            text.append(f" · {len(channels) - most} more", "dim")
            text.append(f", {bad} in trouble" if bad else "", "yellow").append(
                ": livermore notify status", "dim"
            )
        lines.append(_line("notify" if place == 0 else "", text))
    return lines


def _links(facts: Facts, width: int) -> list[RenderableType]:
    addresses = facts["addresses"]
    links = Text()
    if addresses["dagster"]:
        links.append("dagster ").append(addresses["dagster"], "cyan").append("  ")
    if addresses["metrics"]:
        address = addresses["metrics"].removesuffix("/metrics")
        # It is on loopback, always: where it is narrow the port says it.
        links.append("metrics ").append(
            address if width >= NARROW else f":{address.rpartition(':')[2]}", "cyan"
        )
    return [_line("links", links)]
