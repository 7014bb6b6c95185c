"""Tables of candles, values and alerts for eyes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["alert_line", "moment", "show_alerts", "show_candles", "show_values"]

_COLOURS = {
    "oversold": "bold green",
    "rebounding": "green",
    "rallying": "bright_green",
    "overbought": "bold red",
    "retracing": "red",
    "reversing": "bright_red",
    "ranging": "yellow",
    "unknown": "dim",
}


def moment(epoch_ms: int) -> str:
    """UTC, to the minute; to the second where it is not a whole minute."""
    at = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return at.strftime("%Y-%m-%d %H:%M" if at.second == 0 else "%Y-%m-%d %H:%M:%S")


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _table(title: str, left: Sequence[str], right: Sequence[str], more: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    for name in more:
        table.add_column(name)
    return table


def show_values(title: str, rows: Sequence[dict[str, Any]]) -> None:
    table = _table(
        title,
        ("Open (UTC)",),
        ("MACD-V", "Signal", "Histogram", "Bars"),
        ("Stage", "Why no value, or warming"),
    )
    for row in rows:
        stage = row["stage"]
        remark = row["reason"] or ("warming" if row["warming"] else "")
        table.add_row(
            moment(row["open_time_ms"]),
            _value(row["macdv"]),
            _value(row["signal"]),
            _value(row["histogram"]),
            str(row["n_eff"]),
            f"[{_COLOURS[stage]}]{stage}[/]",
            remark,
        )
    Console().print(table)


def show_candles(title: str, rows: Sequence[dict[str, Any]]) -> None:
    table = _table(title, ("Open (UTC)",), ("Open", "High", "Low", "Close", "Volume"), ("State",))
    for row in rows:
        values = [row[name] for name in ("open", "high", "low", "close", "volume")]
        table.add_row(moment(row["open_ms"]), *values, row["state"])
    Console().print(table)


def show_alerts(rows: Sequence[dict[str, Any]]) -> None:
    table = _table(
        "Alerts",
        ("Candle end (UTC)", "Exchange", "Symbol", "TF", "Label"),
        ("MACD-V", "Price"),
        ("Stage", "Bias", "Marks"),
    )
    for row in rows:
        table.add_row(
            moment(row["candle_end_ms"]),
            row["source_exchange"],
            row["symbol"],
            row["timeframe"],
            row["label"],
            _value(row["value"]),
            row["price"],
            f"[{_COLOURS[row['stage']]}]{row['stage']}[/]",
            row["bias"],
            _marks(row),
        )
    Console().print(table)


def _marks(row: dict[str, Any]) -> str:
    withdrawn = row.get("withdrawn_ms") is not None
    marks = {"late": row["late"], "revised": row["revised"], "withdrawn": withdrawn}
    return ", ".join(name for name, holds in marks.items() if holds)


def alert_line(row: dict[str, Any]) -> str:
    """One line of `alerts --follow`."""
    marks = _marks(row)
    return (
        f"{moment(row['candle_end_ms'])}  {row['source_exchange']:<10} {row['symbol']:<12} "
        f"{row['timeframe']:>3}  {row['label']:<19} {_value(row['value']):>8}  {row['price']}  "
        f"{row['stage']}, {row['bias']}"
        f"{f'  ({marks})' if marks else ''}"
    )
