"""`livermore macdv FILE.csv`: MACD-V of any candles in a file."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.errors import BadFile, BadSetting

if TYPE_CHECKING:
    from livermore_dagster.market.timeframe import Timeframe

__all__ = ["compute", "macdv", "read_candles"]

COLUMNS = ("open", "high", "low", "close", "volume")
TIME_COLUMNS = ("open_time", "open_time_s", "open_time_ms")
FIELDS = ("open_time_ms", "macdv", "signal", "histogram", "stage", "seeded", "warming", "n_eff", "reason")
_MS_FROM = 100_000_000_000
"""An open time from here on is in ms: as seconds it would be after the year 5138, as ms it is 1973."""


def macdv(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Candles, oldest first.")],
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", help="1m, 5m, 15m, 1h, 4h or 1d.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list on standard output.")] = False,
) -> None:
    """Compute MACD-V over the candles of a CSV file.

    The file has a header and the columns open_time (seconds or milliseconds since 1970, UTC; also named
    open_time_s or open_time_ms), open, high, low, close, volume. Bars may be missing; a bar with volume 0
    counts as missing. One row comes out for each row that goes in. The value is there from the 26th traded
    bar on, and `warming` until the 200th: so long the beginning of the file still moves it.

    Example: livermore macdv candles.csv --timeframe 5m --csv > macdv.csv
    """
    from livermore_dagster.market.timeframe import Timeframe

    if as_csv and as_json:
        raise BadSetting("--csv and --json exclude each other.", "Give one of them, or neither for a table.")
    rows = compute(file, Timeframe.parse(timeframe))
    if as_json:
        import json

        typer.echo(json.dumps(rows))
    elif as_csv:
        typer.echo(",".join(FIELDS))
        for row in rows:
            typer.echo(",".join(_cell(row[name]) for name in FIELDS))
    else:
        _show(rows, file.name, timeframe)


def compute(file: Path, timeframe: Timeframe) -> list[dict[str, Any]]:
    """One object per row of the file, with FIELDS; missing values are None. Raises BadFile."""
    from livermore_dagster.market.macdv import batch
    from livermore_dagster.market.stages import stage_of

    columns = read_candles(file)
    _require_distance(file, columns["open_time"], timeframe)
    found = batch(
        columns["open_time"], columns["high"], columns["low"], columns["close"], columns["volume"], timeframe
    )
    rows = []
    for index in range(len(found)):
        point = found.point(index)
        shown = stage_of(point.macdv, point.signal).value
        values = (
            point.open_ms, point.macdv, point.signal, point.histogram, shown,
            point.seeded, point.warming, point.n_eff, point.reason,
        )  # fmt: skip
        rows.append(dict(zip(FIELDS, values, strict=True)))
    return rows


def _require_distance(file: Path, opens: list[Any], timeframe: Timeframe) -> None:
    """Gaps are no fault, another timeframe is. `opens` in ms. Raises BadFile."""
    distances = Counter(after - before for before, after in pairwise(opens))
    if not distances or distances[timeframe.ms] == max(distances.values()):
        return
    common = distances.most_common(1)[0][0]
    raise BadFile(
        f"{file}: most candles open {common / 1000:,g} s apart, and those of {timeframe.value} "
        f"{timeframe.ms // 1000:,} s.",
        "Give the file's own timeframe with --timeframe.",
    )


def read_candles(file: Path) -> dict[str, list[Any]]:
    """Columns open_time (ms), open, high, low, close, volume. Raises BadFile, which names line and value."""
    import csv

    try:
        with file.open(newline="", encoding="utf-8-sig") as source:
            lines = csv.reader(source)
            header = [name.strip().lower() for name in next(lines, [])]
            places = _places(file, header)
            columns: dict[str, list[Any]] = {name: [] for name in ("open_time", *COLUMNS)}
            for fields in lines:
                if fields:
                    _add(columns, file, lines.line_num, fields, places, len(header))
    except OSError as error:
        raise BadFile(f"{file} cannot be read: {error.strerror}.", "Give the path of a CSV file.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{file} is not a CSV file: {error}.", "Expected comma-separated UTF-8.") from None
    if not columns["open_time"]:
        raise BadFile(f"{file} has no candles.", "At least one line must follow the header.")
    return columns


def _places(file: Path, header: list[str]) -> dict[str, int]:
    time_column = next((name for name in TIME_COLUMNS if name in header), None)
    missing = [name for name in COLUMNS if name not in header]
    if time_column is None:
        missing.insert(0, "open_time")
    if missing:
        raise BadFile(
            f"{file}, line 1: no column {', '.join(missing)}; the header is {','.join(header) or 'empty'!r}.",
            "Expected: open_time,open,high,low,close,volume.",
        )
    places = {name: header.index(name) for name in COLUMNS}
    return {"open_time": header.index(time_column or ""), **places}


def _add(
    columns: dict[str, list[Any]],
    file: Path,
    line: int,
    fields: list[str],
    places: dict[str, int],
    width: int,
) -> None:
    where = f"{file}, line {line}"
    if len(fields) < width:
        raise BadFile(f"{where}: {len(fields)} fields.", f"Expected {width}, as in the header.")
    open_ms = _time(where, fields[places["open_time"]])
    if columns["open_time"] and open_ms <= columns["open_time"][-1]:
        same = open_ms == columns["open_time"][-1]
        raise BadFile(
            f"{where}: open time {fields[places['open_time']]} {'comes twice' if same else 'goes back'}.",
            "Expected rising open times, each once: sort the file and remove duplicates.",
        )
    values = {name: _number(where, name, fields[places[name]]) for name in COLUMNS}
    if values["low"] > values["high"]:
        raise BadFile(
            f"{where}: low {fields[places['low']]} is above high {fields[places['high']]}.",
            "Expected low ≤ high.",
        )
    columns["open_time"].append(open_ms)
    for name in COLUMNS:
        columns[name].append(values[name])


def _time(where: str, text: str) -> int:
    value = _number(where, "open_time", text)
    if value != int(value):
        raise BadFile(f"{where}: open_time is {text!r}.", "Expected whole seconds or milliseconds.")
    # Small enough to be milliseconds of the seventies is taken for what it more likely is: seconds.
    return int(value) if value >= _MS_FROM else int(value) * 1000


def _number(where: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadFile(f"{where}: {name} is {text!r}.", "Expected a number.") from None
    if not math.isfinite(value) or value < 0 or (value == 0 and name in ("open", "high", "low", "close")):
        least = "a number of 0 or more" if name in ("volume", "open_time") else "a number above 0"
        raise BadFile(f"{where}: {name} is {text!r}.", f"Expected {least}.")
    return value


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _show(rows: list[dict[str, Any]], name: str, timeframe: str) -> None:
    from livermore_dagster.cli.market_tables import show_values

    show_values(f"MACD-V of {name}, {timeframe}", rows)
