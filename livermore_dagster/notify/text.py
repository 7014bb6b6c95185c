"""What people read of an alert: title, plain text and Discord embed (S7). Pure.

Lengths and counts are Discord's own limits (title 256, description 4,096, 25 fields, value 1,024, footer
2,048, 6,000 in one message); whatever an exchange calls a symbol, no text becomes markup or a mention.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.deliveries import HeardAlert

__all__ = [
    "BUNDLE_MOST",
    "Notice",
    "Picture",
    "alert_notice",
    "bundled",
    "chart_titles",
    "digest_notice",
    "plain_notice",
    "short_label",
]

UP_COLOUR: Final = 0x2FBF8F
DOWN_COLOUR: Final = 0xEF5B6B
PLAIN_COLOUR: Final = 0x4DA3FF
_SIMULATED: Final = "SIMULATED"
BUNDLE_MOST: Final = 5
"""Alerts in one message."""
DIGEST_NAME: Final = "alerts.txt"
_TITLE, _DESCRIPTION, _VALUE, _FOOTER, _MESSAGE = 256, 4_096, 1_024, 2_048, 6_000
_MARKUP: Final = re.compile(r"([\\`*_~|\[\]<>#@])")
_DIGEST_LINES: Final = 25


@dataclass(frozen=True, slots=True)
class Picture:
    """A file that goes with a notice."""

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Notice:
    """One message, in plain words and as Discord shows it; an embed names its chart where there is one."""

    title: str
    text: str
    embeds: tuple[dict[str, Any], ...]
    files: tuple[Picture, ...] = field(default=(), repr=False)


def short_label(label: str) -> str:
    """'level −150', 'reversal oversold'."""
    return label.replace("_", " ").replace("-", "−")


def alert_notice(
    heard: HeardAlert,
    url: str,
    *,
    simulated: bool,
    chart: bytes | None,
    chart_note: str | None = None,
    trial: bool = False,
) -> Notice:
    """One alert. `chart_note`: why there is no chart where one was wanted. A `trial` is none, and says so."""
    alert = heard.alert
    arrow = "▲" if alert.direction == "up" else "▼"
    own = alert.timeframes.get(alert.timeframe.value) or {}
    warming = f"warming ({own['n_eff']} bars)" if own.get("warming") else ""
    words = ((warming, True), ("late", alert.late), ("revised", alert.revised))
    marks = [word for word, holds in words if word and holds]
    what = f"{arrow} {alert.symbol} {alert.timeframe.value} · {short_label(alert.label)}"
    heads = [word for word, holds in ((_SIMULATED, simulated), ("TEST", trial)) if holds]
    title = " · ".join([*heads, what, *marks])
    facts = _facts(heard)
    board = _board(alert.timeframes)
    foot = ["Livermore · a test, no alert"] if trial else [f"Livermore · alert {alert.id}"]
    foot += [] if trial else [f"attempt {alert.attempt}"]
    foot += [chart_note] if chart_note else []
    lines = [f"{name}: {value}" for name, value in facts]
    text = "\n".join([*lines, board, url, " · ".join(foot)])
    fields = [
        {"name": name, "value": _cut(_escape(value), _VALUE), "inline": name not in _WIDE}
        for name, value in facts
    ]
    fields.append(
        {"name": "Six timeframes", "value": f"```\n{_cut(board, _VALUE - 8)}\n```", "inline": False}
    )
    embed: dict[str, Any] = {
        "title": _cut(_escape(title), _TITLE),
        "url": url,
        "color": UP_COLOUR if alert.direction == "up" else DOWN_COLOUR,
        "fields": fields,
        "footer": {"text": _cut(" · ".join(foot), _FOOTER)},
        "timestamp": datetime.fromtimestamp(alert.triggered_ms / 1000, UTC).isoformat(),
    }
    files: tuple[Picture, ...] = ()
    if chart is not None:
        name = f"chart-{alert.id}.png"
        embed["image"] = {"url": f"attachment://{name}"}
        files = (Picture(name, "image/png", chart),)
    return Notice(title, text, (embed,), files)


def bundled(notices: Sequence[Notice]) -> list[Notice]:
    """As few messages as Discord's limits allow, in order: several alerts of one moment come as one."""
    found: list[list[Notice]] = []
    room = 0
    for notice in notices:
        size = sum(_size(embed) for embed in notice.embeds)
        if not found or size > room or len(found[-1]) == BUNDLE_MOST:
            found.append([])
            room = _MESSAGE
        found[-1].append(notice)
        room -= size
    return [_together(some) for some in found]


def _together(notices: Sequence[Notice]) -> Notice:
    if len(notices) == 1:
        return notices[0]
    mark = f"{_SIMULATED} · "
    first = notices[0].title
    head = mark if first.startswith(mark) else ""
    return Notice(
        f"{head}{len(notices)} alerts: {first.removeprefix(mark)}, …",
        "\n\n".join(f"{notice.title}\n{notice.text}" for notice in notices),
        tuple(embed for notice in notices for embed in notice.embeds),
        tuple(file for notice in notices for file in notice.files),
    )


def _size(embed: dict[str, Any]) -> int:
    """Characters of it that Discord counts."""
    fields = sum(len(one["name"]) + len(one["value"]) for one in embed.get("fields", []))
    return fields + len(embed["title"]) + len(embed.get("description", "")) + len(embed["footer"]["text"])


_WIDE: Final = ("MACD-V", "Candle")


def chart_titles(heard: HeardAlert) -> tuple[str, str]:
    """Title and subtitle of an alert's chart."""
    alert = heard.alert
    arrow = "▲" if alert.direction == "up" else "▼"
    return (
        f"{alert.symbol}  {alert.timeframe.value}  {heard.exchange_title}",
        f"{arrow} {short_label(alert.label)}  ·  {_price(alert.price)}",
    )


def _facts(heard: HeardAlert) -> list[tuple[str, str]]:
    """Few and short: a phone shows each on a line of its own."""
    alert = heard.alert
    source = "ticker" if alert.price_source == "ticker" else "candle close"
    signal, histogram = _number(alert.signal), _number(alert.histogram)
    candle = f"{_time(alert.open_ms)} to {_time(alert.candle_end_ms, day=False)} UTC"
    return [
        ("Price", f"{_price(alert.price)} ({source}, {_age(alert.price_age_ms)} old)"),
        ("MACD-V", f"{_number(alert.macdv)} · signal {signal} · histogram {histogram}"),
        ("Stage", f"{alert.stage}, bias {alert.bias}"),
        ("Label", f"{alert.label} (before: {alert.previous_label or 'none'})"),
        ("Exchange", heard.exchange_title),
        ("Candle", f"{candle}, alert at {_time(alert.triggered_ms, day=False, seconds=True)}"),
    ]


def _board(timeframes: Any) -> str:
    """The six timeframes' values and stages as an aligned table; a reason where there is no value."""
    lines: list[str] = []
    for timeframe in Timeframe:
        facts = timeframes.get(timeframe.value) or {}
        value, reason = facts.get("value"), facts.get("reason")
        if value is None:
            lines.append(f"{timeframe.value:<4}{'–':>9}  {reason or 'no value yet'}")
        else:
            stale = f" ({reason})" if reason else ""
            lines.append(f"{timeframe.value:<4}{_number(value):>9}  {facts.get('stage', '')}{stale}")
    return "\n".join(lines).replace("`", "'")  # the fence around it is made of them


def digest_notice(exchange_title: str, alerts: Sequence[HeardAlert], *, simulated: bool) -> Notice:
    """All late alerts of one exchange; the whole list goes as a file where it is long."""
    title = f"{len(alerts)} late alert{'s' if len(alerts) > 1 else ''} on {exchange_title}"
    title = f"{_SIMULATED} · {title}" if simulated else title
    lines = [_digest_line(heard) for heard in alerts]
    shown = [_escape(line) for line in lines[:_DIGEST_LINES]]
    more = len(lines) - len(shown)
    if more:
        shown.append(f"… and {more} more, in the file")
    text = "\n".join(lines)
    up = sum(heard.alert.direction == "up" for heard in alerts)
    embed = {
        "title": _cut(_escape(title), _TITLE),
        "description": _cut("\n".join(shown), _DESCRIPTION),
        "color": PLAIN_COLOUR,
        "footer": {"text": f"Livermore · {up} up, {len(alerts) - up} down · older than two of their candles"},
    }
    files = (Picture(DIGEST_NAME, "text/plain", f"{title}\n{text}\n".encode()),) if more else ()
    return Notice(title, text, (embed,), files)


def _digest_line(heard: HeardAlert) -> str:
    alert = heard.alert
    arrow = "▲" if alert.direction == "up" else "▼"
    again = f" · attempt {alert.attempt}" if alert.attempt > 1 else ""
    return (
        f"{arrow} {alert.symbol} {alert.timeframe.value} {short_label(alert.label)} · "
        f"MACD-V {_number(alert.macdv)} · {_time(alert.candle_end_ms)} UTC · alert {alert.id}{again}"
    )


def plain_notice(title: str, text: str, *, simulated: bool, colour: int = PLAIN_COLOUR) -> Notice:
    """A word of the platform's own: a test, an incident."""
    title = f"{_SIMULATED} · {title}" if simulated else title
    embed = {
        "title": _cut(_escape(title), _TITLE),
        "description": _cut(_escape(text), _DESCRIPTION),
        "color": colour,
        "footer": {"text": "Livermore"},
    }
    return Notice(title, text, (embed,))


def _escape(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    # An escape cut in half would let its character through as markup.
    kept = text[: most - 1]
    return kept[: len(kept) - (len(kept) - len(kept.rstrip("\\"))) % 2] + "…"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def _price(text: str) -> str:
    """With separators, every digit kept."""
    return f"{Decimal(text):,f}"


def _age(ms: int) -> str:
    seconds = ms / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.0f} h"


def _time(at_ms: int, *, day: bool = True, seconds: bool = False) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.strftime(("%Y-%m-%d " if day else "") + ("%H:%M:%S" if seconds else "%H:%M"))
