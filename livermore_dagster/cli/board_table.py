"""The board as tables, one per exchange: 80 columns hold it, wider terminals get names in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from livermore_dagster.cli.console import console
from livermore_dagster.cli.market_tables import STAGE_COLOURS
from livermore_dagster.market.board import is_stale
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.board import BoardRow
from livermore_dagster.platform.screen import clock_text

__all__ = ["age_text", "board_view", "print_boards", "short_price"]

LETTERS = {
    "oversold": "OS", "overbought": "OB", "rallying": "RA", "rebounding": "RB", "ranging": "RG",
    "retracing": "RT", "reversing": "RV", "unknown": "",
}  # fmt: skip
BIAS = {"bullish": Text("▲", "green"), "bearish": Text("▼", "red"), "neutral": Text("·", "dim")}
PORTFOLIO = {
    "STRONG BUY": ("S.BUY", "bold green"), "Bullish": ("bull", "green"), "Reversal Up?": ("rev▲?", "cyan"),
    "Mixed": ("mixed", "yellow"), "Reversal Down?": ("rev▼?", "magenta"), "Bearish": ("bear", "red"),
    "STRONG SELL": ("S.SELL", "bold red"), "No Data": ("–", "dim"),
}  # fmt: skip
SYMBOL_LEAST, PRICE_LEAST = 8, 8
ROOMY, WIDE = 108, 156
"""Columns from which one decimal and longer words fit, and from which stages are written out."""
GROUP_LINES = 2
"""Title and header of one exchange's table."""


def print_boards(rows: Sequence[BoardRow], timeframes: Sequence[Timeframe] | None) -> None:
    screen = console()
    width = screen.width
    for name, group in _groups(rows).items():
        screen.print(_table(name, group, timeframes, width))


def board_view(
    rows: Sequence[BoardRow],
    timeframes: Sequence[Timeframe] | None,
    now_ms: int,
    provenance: str,
    width: int,
    height: int,
) -> RenderableType:
    """The same within a terminal's height: each exchange gets its share of the lines."""
    kind = ("  LIVE  ", "bold white on #1565c0")
    if provenance.startswith("sim:"):
        kind = (f"  SIMULATED {provenance}  ", "bold black on #ffb300")
    parts: list[RenderableType] = [Text.assemble(kind, f"  {clock_text(now_ms)}  ", ("Ctrl-C ends", "dim"))]
    groups = _groups(rows)
    if not groups:
        return Group(*parts, Text("Nothing to show: no exchange monitors such symbols now.", "dim"))
    for name, group in groups.items():
        share = max(1, (height - 2) // len(groups) - GROUP_LINES)
        shown = group if len(group) <= share else group[: max(1, share - 1)]
        hidden = len(group) - len(shown)
        parts.append(_table(name, shown, timeframes, width))
        if hidden:
            parts.append(Text(f"… {hidden} more: a higher terminal, or --symbols, --stage", "dim"))
    return Group(*parts)


def _groups(rows: Sequence[BoardRow]) -> dict[str, list[BoardRow]]:
    found: dict[str, list[BoardRow]] = {}
    for row in rows:
        found.setdefault(row.exchange, []).append(row)
    return found


def _table(
    exchange: str, rows: Sequence[BoardRow], timeframes: Sequence[Timeframe] | None, width: int
) -> Table:
    shown = [tf for tf in Timeframe if timeframes is None or tf in timeframes]
    if timeframes is None:
        # A timeframe the exchange never has live would be a column of dashes.
        shown = [tf for tf in shown if any(_lives(row.cells[tf.value]) for row in rows)] or shown
    table = Table(
        title=f"{exchange}, {len(rows)} symbols", title_justify="left", title_style="bold", box=None,
        header_style="dim", padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    table.add_column("symbol", no_wrap=True, min_width=SYMBOL_LEAST)
    table.add_column("price", justify="right", no_wrap=True, min_width=PRICE_LEAST)
    for timeframe in shown:
        table.add_column(timeframe.value, justify="left" if width >= WIDE else "right", no_wrap=True)
    table.add_column("" if width < ROOMY else "bias", no_wrap=True)
    table.add_column("folio" if width < ROOMY else "portfolio", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    for row in rows:
        price = short_price(row.price) if width < ROOMY else row.price or "–"
        table.add_row(
            Text(row.symbol, "bold"),
            Text(price, "" if row.price_source == "ticker" else "dim"),
            *(_cell(timeframe, row.cells[timeframe.value], width) for timeframe in shown),
            BIAS[row.bias] if width < ROOMY else BIAS[row.bias] + Text(f" {row.bias}", "dim"),
            _portfolio(row.portfolio, width),
            Text(age_text(row.age_ms), "dim"),
        )
    return table


def _lives(cell: Mapping[str, Any]) -> bool:
    return cell["reason"] not in ("unsupported", "not streamed")


def _cell(timeframe: Timeframe, cell: Mapping[str, Any], width: int) -> Text:
    value, stage = cell["value"], str(cell["stage"])
    if value is None:
        return Text("–" if width < WIDE else str(cell["reason"] or "–")[:17], "dim")
    number = f"{round(value) + 0:+d}" if width < ROOMY else f"{round(value, 1) + 0.0:+.1f}"
    if cell["age_ms"] is not None and is_stale(timeframe, cell["age_ms"]):
        return Text(f"({number})", "dim")
    word = stage if width >= WIDE else LETTERS[stage]
    return Text(f"{number:>6} {word}" if width >= WIDE else f"{number} {word:<2}", STAGE_COLOURS[stage])


def _portfolio(label: str, width: int) -> Text:
    short, style = PORTFOLIO[label]
    return Text(short if width < ROOMY else label, style)


def short_price(price: str | None) -> str:
    """As many digits as eight columns hold: '67,250.1' stays readable, '0.00001234' keeps its digits."""
    if price is None:
        return "–"
    whole, _, rest = price.partition(".")
    if len(price) <= PRICE_LEAST:
        return price
    if whole == "0" and rest.startswith("0000"):
        return f"{float(price):.2e}"
    room = PRICE_LEAST - len(whole) - 1
    return f"{whole}.{rest[:room]}" if room > 0 and rest else whole


def age_text(age_ms: int | None) -> str:
    """'12s', '4m', '3h', '2d'; '–' for none."""
    if age_ms is None:
        return "–"
    seconds = age_ms // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
