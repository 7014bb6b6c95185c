"""`livermore status --watch`: one screen of what matters, 80 × 24 at least, redrawn without flicker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from livermore_dagster.cli.board_table import age_text
from livermore_dagster.market.moments import clock_text, short_text
from livermore_dagster.platform.screen_tables import memory_text

__all__ = ["header", "home_text", "homes_line", "state_text", "status_view"]

HEALTH = {
    "ok": ("●", "green"), "idle": ("○", "dim"), "starting": ("◐", "yellow"), "paused": ("‖", "bold yellow"),
    "degraded": ("▲", "bold yellow"), "down": ("✖", "bold red"),
}  # fmt: skip
SEVERITY = {"error": "bold red", "info": "green"}
WIDE = 110
LINES_OF_TROUBLE = 2
"""So many lines each trouble may take."""

Facts = Mapping[str, Any]


def header(facts: Facts, *, note: str = "") -> Text:
    if facts["simulated"]:
        kind = (f" SIMULATED {facts['provenance']} · {facts['speed']:g}× ", "bold black on #ffb300")
    else:
        kind = (" LIVE ", "bold white on #1565c0")
    market = clock_text(facts["market_time_ms"])
    return Text.assemble(
        ("LIVERMORE ", "bold"), kind, f" {market} ", (note, "dim"), no_wrap=True, overflow="ellipsis"
    )


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


def homes_line(facts: Facts) -> Text:
    """The homes that share these servers, and which one runs Dagster's daemon."""
    names = [home_text(one["home"], facts) + (" (daemon)" if one["daemon"] else "") for one in facts["homes"]]
    waiting = [
        f"{home_text(standby['home'], facts)} stands by for {name}"
        for name, one in facts["exchanges"].items()
        for standby in one["standbys"]
    ]
    return _line("homes", " · ".join([", ".join(names), *waiting]))


def status_view(facts: Facts, width: int, height: int) -> RenderableType:
    """All sections; incidents and alerts take the lines that are left, and yield first."""
    troubles = _troubles(facts, width)
    fixed: list[RenderableType] = [header(facts, note="Ctrl-C ends"), _exchanges(facts, width), *troubles]
    figures = _figures(facts)
    notifications = _notifications(facts, width)
    links = _links(facts)
    if len(facts["homes"]) > 1:
        figures.append(homes_line(facts))
    used = 2 + len(facts["exchanges"]) + sum(_lines(one, width) for one in troubles)
    used += len(figures) + len(notifications) + len(links)
    left = max(0, height - 1 - used)
    incidents = facts["incidents"][: max(0, min(left - 1, (left + 1) // 2, len(facts["incidents"])))]
    left -= len(incidents) + 1
    alerts = facts["alerts"][: max(0, left - 1)]
    parts = [*fixed, *figures]
    parts.append(_incidents(incidents, width) if incidents else Text("incidents  none yet", "dim"))
    if alerts:
        parts.append(_alerts(alerts))
    return Group(*parts, *notifications, *links)


def _grid(*columns: tuple[str, str]) -> Table:
    """Name and side of each column; the last takes what is left of the line."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    for name, side in columns[:-1]:
        table.add_column(name, justify="right" if side == ">" else "left", no_wrap=True)
    table.add_column(columns[-1][0], no_wrap=True, overflow="ellipsis", ratio=1)
    return table


def _exchanges(facts: Facts, width: int) -> Table:
    table = _grid(
        ("exchange", "<"), ("state", "<"), ("symbols", ">"), ("closes/min", ">"), ("settled", ">"),
        ("beat", ">"), ("backlog", ">"), ("429", ">"), ("lines" if width < WIDE else "lines up", "<"),
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
            "–" if lag is None else f"-{age_text(int(lag * 1000))}",
            "–" if beat is None else f"{beat:.0f}s",
            f"{max(one['backlog'].values(), default=0):,}" if running else "–",
            Text(f"{limited:,}", "bold red" if limited else "dim"),
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


def _lines(text: Text, width: int) -> int:
    return -(-len(text.plain) // max(1, width - 2))


def _figures(facts: Facts) -> list[Text]:
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
        speeds += f" · close to alert p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms"
    return [_line("figures", counts), _line("", speeds)]


def _line(title: str, text: str | Text, style: str = "") -> Text:
    line = Text(f"{title:<11}", "dim", no_wrap=True, overflow="ellipsis")
    return line.append_text(text) if isinstance(text, Text) else line.append(text, style or "default")


def _incidents(lines: Sequence[Facts], width: int) -> Table:
    table = _grid(("incident", "<"), ("exchange", "<"), ("times", ">"), ("ago", ">"), ("what it means", "<"))
    now_ms = time.time_ns() // 1_000_000
    for line in lines:
        table.add_row(
            Text(line["name"], SEVERITY.get(line["severity"], "")),
            line["exchange"],
            f"{line['times']:,}",
            age_text(max(0, now_ms - line["at_ms"])),
            Text(line["words"], "dim" if width < WIDE else ""),
        )
    return table


def _alerts(alerts: Sequence[Facts]) -> Table:
    table = _grid(
        ("last alerts", "<"), ("exchange", "<"), ("symbol", "<"), ("tf", ">"), ("label", "<"), ("MACD-V", "<")
    )
    for one in alerts:
        style = "dim strike" if one["withdrawn"] else "green" if one["macdv"] < 0 else "red"
        table.add_row(
            Text(short_text(one["candle_end_ms"]), "dim"), one["exchange"], Text(one["symbol"], "bold"),
            one["timeframe"], Text(one["label"], style), Text(f"{one['macdv']:+.1f}", style),
        )  # fmt: skip
    return table


def _notifications(facts: Facts, width: int) -> list[Text]:
    found = facts["notifications"]
    if found is None:
        return []
    if not found["channels"]:
        state = "the notifier is at work" if found["notifier"] else "no notifier is at work"
        return [_line("notify", f"{state}; no channel yet: livermore notify add --help", "dim")]
    lines = []
    for place, one in enumerate(found["channels"][:4]):
        sound = one["state"] in ("ready", "sending")
        words = f"{one['channel']} of {one['user']}: {one['state']}"
        counts = f" · 24 h: {one['sent']} sent, {one['failed']} failed, {one['pending']} wait"
        text = Text.assemble((words, "green" if sound else "yellow"), counts)
        lines.append(_line("notify" if place == 0 else "", text))
    return lines


def _links(facts: Facts) -> list[Text]:
    addresses = facts["addresses"]
    links = Text()
    if addresses["dagster"]:
        links.append("dagster ").append(addresses["dagster"], "cyan").append("  ")
    if addresses["metrics"]:
        links.append("metrics ").append(addresses["metrics"].removesuffix("/metrics"), "cyan")
    return [_line("links", links)]
