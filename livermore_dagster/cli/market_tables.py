"""Tables of candles, values and alerts for eyes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.text import Text

from livermore_dagster.cli.console import console, plain_table
from livermore_dagster.market.moments import utc_text

__all__ = ["STAGE_COLOURS", "alert_heading", "alert_line", "show_alerts", "show_candles", "show_values"]

STAGE_COLOURS = {
    "oversold": "bold green",
    "rebounding": "green",
    "rallying": "bright_green",
    "overbought": "bold red",
    "retracing": "red",
    "reversing": "bright_red",
    "ranging": "yellow",
    "unknown": "dim",
}
ALERTS_IN_FULL = 125
"""Columns a terminal needs for every column of an alert."""
ALERTS_WITH_PRICE = 76
"""Columns from which a line that is followed tells the date and the price too."""
END, END_SHORT, END_SHORTEST = "candle end (UTC)", "end (UTC)", "UTC"
DATE_FROM, TIME_FROM = 5, 11
"""Where month and time begin in '2026-01-05 23:30'."""
MARK = {"warming": "~", "late": "L", "revised": "R", "withdrawn": "×"}
"""For narrower ones."""


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _aligned(texts: Sequence[str]) -> list[str]:
    """Decimal texts filled up with zeros, so that their points stand below each other."""
    places = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [f"{Decimal(text):.{places}f}" for text in texts]


def _stage(stage: str) -> Text:
    return Text(stage, STAGE_COLOURS[stage])


def show_values(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """MACD-V, signal and histogram of each candle; in place of a value the reason why there is none."""
    table = plain_table(title, ["open (UTC)"], ["MACD-V", "signal", "histogram", "bars"], ["stage", "remark"])
    for row in rows:
        table.add_row(
            utc_text(row["open_time_ms"]),
            _value(row["macdv"]),
            _value(row["signal"]),
            _value(row["histogram"]),
            str(row["n_eff"]),
            _stage(row["stage"]),
            Text(row["reason"] or ("warming" if row["warming"] else ""), "dim"),
        )
    console().print(table)


def show_candles(title: str, rows: Sequence[dict[str, Any]]) -> None:
    table = plain_table(title, ["open (UTC)"], ["open", "high", "low", "close", "volume"], ["state"])
    prices = iter(_aligned([row[name] for row in rows for name in ("open", "high", "low", "close")]))
    volumes = _aligned([row["volume"] for row in rows])
    for row, volume in zip(rows, volumes, strict=True):
        ended = row["state"] != "open"
        rose = Decimal(row["close"]) >= Decimal(row["open"])
        values = [Text(next(prices)) for _ in range(4)]
        values[3].stylize("green" if rose else "red")
        state = Text(row["state"], "dim" if ended else "yellow")
        table.add_row(utc_text(row["open_ms"]), *values, volume, state)
    console().print(table)


def show_alerts(rows: Sequence[dict[str, Any]]) -> None:
    """A narrow terminal gets the columns that say what happened, and not stage and bias; marks where there
    are any: who sees an alert sees what is the matter with it."""
    screen = console()
    full = screen.width >= ALERTS_IN_FULL
    marked = full or any(map(_marks, rows))
    table = plain_table(
        "Alerts",
        [END if full else END_SHORT, "exchange", "symbol", "tf", "label"],
        ["MACD-V", "price"],
        ["stage", "bias", "marks"] if full else [""] if marked else [],
    )
    for row in rows:
        end = utc_text(row["candle_end_ms"])
        style = "strike dim" if row.get("withdrawn_ms") is not None else _direction_style(row)
        cells: list[str | Text] = [
            end if full else end[DATE_FROM:],
            row["source_exchange"],
            Text(row["symbol"], "bold"),
            row["timeframe"],
            Text(row["label"], style),
            Text(_value(row["value"]), style),
            row["price"],
        ]
        if full:
            cells += [_stage(row["stage"]), row["bias"]]
        if marked:
            marks = _marks(row)
            cells.append(Text(", ".join(marks) if full else "".join(MARK[mark] for mark in marks), "yellow"))
        table.add_row(*cells)
    screen.print(table)
    if marked and not full:
        told = {mark for row in rows for mark in _marks(row)}
        screen.print(
            Text("  ".join(f"{letter} {mark}" for mark, letter in MARK.items() if mark in told), "dim")
        )


def _direction_style(row: dict[str, Any]) -> str:
    """Green where the market is low or turns up, red where it is high or turns down."""
    return "green" if row["value"] < 0 else "red"


def _marks(row: dict[str, Any]) -> list[str]:
    withdrawn = row.get("withdrawn_ms") is not None
    warming = (row["timeframes"].get(row["timeframe"]) or {}).get("warming", False)
    marks = {"warming": warming, "late": row["late"], "revised": row["revised"], "withdrawn": withdrawn}
    return [name for name, holds in marks.items() if holds]


def alert_heading(width: int) -> Text:
    """What stands above the lines of `alerts --follow`. `width`: columns."""
    gap, columns = _alert_columns(width)
    return Text(gap.join(f"{name:{form}}" for name, form in columns), "dim", overflow="ignore", no_wrap=True)


def alert_line(row: dict[str, Any], width: int) -> Text:
    """One line of `alerts --follow`, its columns where those of the line before stand. `width`: columns.

    What is the matter with it stands behind it, or below it where the terminal ends.
    """
    gap, columns = _alert_columns(width)
    marks = ", ".join(_marks(row))
    style = "strike dim" if row.get("withdrawn_ms") is not None else _direction_style(row)
    end = utc_text(row["candle_end_ms"])
    cells = {
        END: (end, "dim"), END_SHORT: (end[DATE_FROM:], "dim"), END_SHORTEST: (end[TIME_FROM:], "dim"),
        "exchange": (row["source_exchange"], ""), "symbol": (row["symbol"], "bold"),
        "tf": (row["timeframe"], ""), "label": (row["label"], style), "MACD-V": (_value(row["value"]), style),
        "price": (row["price"], ""), "stage": (row["stage"], STAGE_COLOURS[row["stage"]]),
        "bias": (row["bias"], ""),
    }  # fmt: skip
    line = Text(overflow="ignore", no_wrap=True)
    for place, (name, form) in enumerate(columns):
        text, look = cells[name]
        line.append(gap if place else "").append(f"{text:{form}}", look)
    if marks:
        below = len(line) + 2 + len(marks) > width
        line.append(f"\n{'':{columns[0][1]}}{gap}" if below else "  ")
        line.append(marks, "bold yellow" if row.get("withdrawn_ms") is not None else "yellow")
    return line


def _alert_columns(width: int) -> tuple[str, list[tuple[str, str]]]:
    """What stands between columns, and the name and the format of each: the more the wider."""
    label = [("tf", ">3"), ("label", "<19"), ("MACD-V", ">8")]
    if width < ALERTS_WITH_PRICE:
        return " ", [(END_SHORTEST, "<5"), ("exchange", "<10"), ("symbol", "<10"), *label]
    if width < ALERTS_IN_FULL:
        return " ", [(END_SHORT, "<11"), ("exchange", "<10"), ("symbol", "<10"), *label, ("price", ">9")]
    more = [("price", ">12"), ("stage", "<10"), ("bias", "<7")]
    return "  ", [(END, "<16"), ("exchange", "<10"), ("symbol", "<12"), *label, *more]
