"""Tables of candles, values and alerts for eyes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.text import Text

from livermore_dagster.cli.console import console, plain_table
from livermore_dagster.market.moments import utc_text

__all__ = ["STAGE_COLOURS", "alert_line", "show_alerts", "show_candles", "show_values"]

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
        ["candle end (UTC)" if full else "end (UTC)", "exchange", "symbol", "tf", "label"],
        ["MACD-V", "price"],
        ["stage", "bias", "marks"] if full else [""] if marked else [],
    )
    for row in rows:
        end = utc_text(row["candle_end_ms"])
        style = "strike dim" if row.get("withdrawn_ms") is not None else _direction_style(row)
        cells: list[str | Text] = [
            end if full else end[5:],
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


def alert_line(row: dict[str, Any], width: int) -> Text:
    """One line of `alerts --follow`, its columns where those of the line before stand. `width`: columns."""
    full = width >= ALERTS_IN_FULL
    marks = _marks(row)
    style = "strike dim" if row.get("withdrawn_ms") is not None else _direction_style(row)
    end = utc_text(row["candle_end_ms"])
    line = Text(overflow="ignore", no_wrap=True)
    line.append(f"{end if full else end[5:]}  ", "dim")
    line.append(f"{row['source_exchange']:<10} ")
    line.append(f"{row['symbol']:<{12 if full else 10}} ", "bold")
    line.append(f"{row['timeframe']:>3}  ")
    line.append(f"{row['label']:<19} {_value(row['value']):>8}", style)
    line.append(f"  {row['price']:>{12 if full else 9}}")
    if full:
        line.append("  ")
        line.append(f"{row['stage']:<10}", STAGE_COLOURS[row["stage"]])
        line.append(f" {row['bias']:<7}")
    if marks:
        line.append(f"  {', '.join(marks)}", "bold yellow" if "withdrawn" in marks else "yellow")
    return line
