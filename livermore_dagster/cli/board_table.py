"""The board as tables, one per exchange: 80 columns hold it, wider terminals get names in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.text import Text

from livermore_dagster.cli.console import console
from livermore_dagster.cli.market_tables import STAGE_COLOURS
from livermore_dagster.market.board import NOT_COMPUTED, is_stale
from livermore_dagster.market.macdv_fold import LOW_ACTIVITY
from livermore_dagster.market.moments import clock_text
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.board import FLOWING, BoardRow

__all__ = ["age_text", "board_view", "print_boards", "short_price"]

LETTERS = {
    "oversold": "OS", "overbought": "OB", "rallying": "RA", "rebounding": "RB", "ranging": "RG",
    "retracing": "RT", "reversing": "RV", "unknown": "",
}  # fmt: skip
BIAS = {"bullish": ("▲", "green"), "bearish": ("▼", "red"), "neutral": ("·", "dim")}
PORTFOLIO = {
    "STRONG BUY": ("S.BUY", "bold green"), "Bullish": ("bull", "green"), "Reversal Up?": ("rev▲?", "cyan"),
    "Mixed": ("mixed", "yellow"), "Reversal Down?": ("rev▼?", "magenta"), "Bearish": ("bear", "red"),
    "STRONG SELL": ("S.SELL", "bold red"), "No Data": ("–", "dim"),
}  # fmt: skip
PRICE_LEAST = 8
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
        parts.append(_table(name, shown, timeframes, width, among=len(group)))
        if hidden:
            parts.append(Text(f"… {hidden} more: a higher terminal, or --symbols, --stage", "dim"))
    return Group(*parts)


def _groups(rows: Sequence[BoardRow]) -> dict[str, list[BoardRow]]:
    found: dict[str, list[BoardRow]] = {}
    for row in rows:
        found.setdefault(row.exchange, []).append(row)
    return found


Cell = tuple[str, str]
"""Text and style."""


class _Lines:
    """Columns as wide as they need, without the layout of a rich table: 500 symbols shall not wait for it."""

    def __init__(
        self, title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Cell]]
    ) -> None:
        """`columns`: name and side, '<' or '>'."""
        self._title = title
        self._columns = columns
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        widths = [cell_len(name) for name, _ in self._columns]
        for row in self._rows:
            widths = [max(width, cell_len(text)) for width, (text, _) in zip(widths, row, strict=True)]
        ends = [*accumulate(width + 1 for width in widths)]
        shown = sum(end - 1 <= options.max_width for end in ends)
        styles = cache(console.get_style)
        yield Segment(self._title, styles("bold"))
        if shown < len(widths):
            left_out = ", ".join(name for name, _ in self._columns[shown:])
            yield Segment(f"; wider terminal: {left_out}", styles("dim"))
        yield Segment.line()
        for row in ([(name, "dim") for name, _ in self._columns], *self._rows):
            for (text, style), width, (_, side) in zip(row[:shown], widths, self._columns, strict=False):
                blank = " " * (width - cell_len(text))
                yield Segment(
                    f"{blank}{text} " if side == ">" else f"{text}{blank} ", styles(style or "none")
                )
            yield Segment.line()


def _table(
    exchange: str,
    rows: Sequence[BoardRow],
    timeframes: Sequence[Timeframe] | None,
    width: int,
    *,
    among: int = 0,
) -> _Lines:
    """`among`: symbols of the exchange, where not all are in `rows`."""
    shown = [tf for tf in Timeframe if timeframes is None or tf in timeframes]
    if timeframes is None:
        # A timeframe the exchange never has live would be a column of dashes.
        shown = [tf for tf in shown if any(_lives(row.cells[tf.value]) for row in rows)] or shown
    narrow = width < ROOMY
    columns = [("symbol", "<"), ("price", ">")]
    columns += [(timeframe.value, "<" if width >= WIDE else ">") for timeframe in shown]
    columns += [("age", ">"), ("b" if narrow else "bias", "<"), ("folio" if narrow else "portfolio", "<")]
    return _Lines(
        _title(exchange, rows, shown, among or len(rows)),
        columns,
        [_cells(row, shown, width) for row in rows],
    )


def _title(exchange: str, rows: Sequence[BoardRow], shown: Sequence[Timeframe], among: int) -> str:
    instance = rows[0].instance
    state = "" if instance == FLOWING else f" ({instance})"
    idle = [tf.value for tf in shown if all(row.cells[tf.value]["reason"] == NOT_COMPUTED for row in rows)]
    return f"{exchange}{state}, {among} symbol{'s' if among != 1 else ''}" + (
        f"; not computed: {', '.join(idle)}" if idle else ""
    )


def _cells(row: BoardRow, shown: Sequence[Timeframe], width: int) -> list[Cell]:
    narrow = width < ROOMY
    price = short_price(row.price) if narrow else row.price or "–"
    mark, style = BIAS[row.bias]
    short, folio_style = PORTFOLIO[row.portfolio]
    return [
        (row.symbol, "bold"),
        (price, "" if row.price_source == "ticker" else "dim"),
        *(_cell(timeframe, row.cells[timeframe.value], row.instance, width) for timeframe in shown),
        (age_text(row.age_ms), "dim"),
        (mark if narrow else f"{mark} {row.bias}", style),
        (short if narrow else row.portfolio, folio_style),
    ]


def _lives(cell: Mapping[str, Any]) -> bool:
    return cell["reason"] not in ("unsupported", "not streamed")


def _cell(timeframe: Timeframe, cell: Mapping[str, Any], instance: str, width: int) -> Cell:
    value, stage = cell["value"], str(cell["stage"])
    if value is None:
        reason = cell["reason"] or "–"
        if reason == LOW_ACTIVITY:
            # Before its history is there, every symbol has few bars.
            reason = "warming up" if instance == "warming" else "few trades"
        return ("–" if width < WIDE else reason, "dim")
    number = f"{round(value) + 0:+d}" if width < ROOMY else f"{round(value, 1) + 0.0:+.1f}"
    if cell["age_ms"] is not None and is_stale(timeframe, cell["age_ms"]):
        return (f"({number})", "dim")
    shown = f"{number:>6} {stage}" if width >= WIDE else f"{number} {LETTERS[stage]:<2}"
    return (shown, STAGE_COLOURS[stage])


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
