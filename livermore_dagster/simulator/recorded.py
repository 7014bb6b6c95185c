"""A recorded series played instead of a drawn market: read from a file at start, shown as time passes it.

A file is CSV with a header row or a JSON list of objects (what `control/truth` answers under 'candles').
Columns: the bar's open as `open_ms` or `open_time_s`, then `open`, `high`, `low`, `close`, `volume`, and
`trades` if known. Rows are oldest first. Nothing is derived: a timeframe without a file has no rows.
"""

from __future__ import annotations

import csv
import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from livermore_dagster.errors import BadSetting
from livermore_dagster.market.timeframe import TIMEFRAMES
from livermore_dagster.simulator.bars import Bar
from livermore_dagster.simulator.market import MINUTE_MS

__all__ = ["Recorded", "RecordedFile", "Series", "parse_recorded", "read_series"]

_VALUES = ("open", "high", "low", "close", "volume")
_MOST_DECIMALS = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One file: a symbol's bars of one length, in ticks and lots of the stated decimals."""

    symbol: str
    minutes: int
    price_decimals: int
    lot_decimals: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """Which file is played as what."""

    exchange: str
    symbol: str
    timeframe: str
    path: Path


def parse_recorded(text: str) -> RecordedFile:
    """'binance:ADAUSDT:5m=ada.csv'. Raises BadSetting."""
    name, _, path = text.partition("=")
    parts = name.split(":")
    if len(parts) != 3 or not all(parts) or not path:
        raise BadSetting(
            f"--recorded {text!r} names no series.", "Write it as EXCHANGE:SYMBOL:TIMEFRAME=FILE."
        )
    exchange, symbol, timeframe = parts
    if timeframe not in {one.value for one in TIMEFRAMES}:
        known = ", ".join(one.value for one in TIMEFRAMES)
        raise BadSetting(f"--recorded {text!r}: unknown timeframe {timeframe!r}.", f"There are {known}.")
    return RecordedFile(exchange, symbol, timeframe, Path(path))


def read_series(path: Path, symbol: str, minutes: int) -> Series:
    """Reads a file. Raises BadSetting that names the file, the row and what is wrong."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"The recorded series {path} cannot be read: {error}.") from error
    rows = _objects(path, text)
    values: list[tuple[int, list[Decimal], int]] = []
    for number, row in enumerate(rows, 1):
        try:
            values.append(_row(row))
        except (KeyError, ValueError, TypeError, InvalidOperation) as error:
            raise BadSetting(
                f"Row {number} of {path} is not a candle: {error!r}.",
                f"It needs open_ms or open_time_s, and {', '.join(_VALUES)}.",
            ) from error
        if len(values) > 1 and values[-1][0] <= values[-2][0]:
            raise BadSetting(f"Row {number} of {path} is not later than the one before it.")
    if not values:
        raise BadSetting(f"The recorded series {path} has no rows.")
    places = max(_decimals(price) for _, prices, _ in values for price in prices[:4])
    lot_places = max(_decimals(prices[4]) for _, prices, _ in values)
    if max(places, lot_places) > _MOST_DECIMALS:
        raise BadSetting(f"{path} has more than {_MOST_DECIMALS} decimals.")
    bars = tuple(_bar(open_ms, numbers, trades, places, lot_places) for open_ms, numbers, trades in values)
    return Series(symbol, minutes, places, lot_places, bars)


def _objects(path: Path, text: str) -> list[Mapping[str, Any]]:
    if path.suffix != ".json":
        return list(csv.DictReader(text.splitlines()))
    try:
        rows = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise BadSetting(f"The recorded series {path} is not JSON: {error}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadSetting(f"The recorded series {path} must be a JSON list of objects.")
    return rows


def _row(row: Mapping[str, Any]) -> tuple[int, list[Decimal], int]:
    open_ms = int(row["open_ms"]) if row.get("open_ms") else int(row["open_time_s"]) * 1000
    if open_ms % MINUTE_MS:
        raise ValueError(f"the open {open_ms} is no whole minute")
    numbers = [Decimal(str(row[name])) for name in _VALUES]
    opened, high, low, close, volume = numbers
    if not all(number.is_finite() for number in numbers) or volume < 0:
        raise ValueError("a value is no finite number, or the volume negative")
    if not 0 < low <= min(opened, close) <= max(opened, close) <= high:
        raise ValueError("low, open, close and high do not fit together")
    return open_ms, numbers, int(row.get("trades") or (1 if volume else 0))


def _decimals(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _bar(open_ms: int, numbers: Sequence[Decimal], trades: int, places: int, lot_places: int) -> Bar:
    opened, high, low, close = (int(price.scaleb(places)) for price in numbers[:4])
    lots = int(numbers[4].scaleb(lot_places))
    # Quote volume is not recorded: what the close would make of it, in ticks × lots.
    return Bar(open_ms, opened, high, low, close, lots, close * lots, trades)


class Recorded:
    """One symbol's recorded series, as rows at a moment."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.price_decimals = max(one.price_decimals for one in series)
        self.lot_decimals = max(one.lot_decimals for one in series)
        self._bars = {one.minutes: [self._scaled(one, bar) for bar in one.bars] for one in series}
        self._opens = {minutes: [bar.open_ms for bar in bars] for minutes, bars in self._bars.items()}

    def _scaled(self, one: Series, bar: Bar) -> Bar:
        ticks = 10 ** (self.price_decimals - one.price_decimals)
        lots = 10 ** (self.lot_decimals - one.lot_decimals)
        return Bar(
            bar.open_ms, bar.open * ticks, bar.high * ticks, bar.low * ticks, bar.close * ticks,
            bar.lots * lots, bar.quote * ticks * lots, bar.trades,
        )  # fmt: skip

    @property
    def figures(self) -> tuple[int, int, int, int, int]:
        """Price decimals, lot decimals, a price in ticks, a volume in lots, the first open (ms)."""
        bar = self._bars[min(self._bars)][-1]
        first_ms = min(opens[0] for opens in self._opens.values())
        return self.price_decimals, self.lot_decimals, bar.close, max(bar.lots, 1), first_ms

    def end_of(self, minutes: int, open_ms: int) -> int:
        """A recorded bar ends with its length, or where the next one opens: some stand off the grid."""
        opens = self._opens.get(minutes, [])
        place = bisect_right(opens, open_ms)
        regular = open_ms + minutes * MINUTE_MS
        return min(regular, opens[place]) if place < len(opens) else regular

    def rows(self, minutes: int, start_ms: int, end_ms: int, now_ms: int, *, with_open: bool) -> list[Bar]:
        """Bars with open in [start, end) as they stand at `now_ms`, oldest first."""
        opens = self._opens.get(minutes, [])
        begun = min(bisect_left(opens, end_ms), bisect_right(opens, now_ms))
        rows = self._bars[minutes][bisect_left(opens, start_ms) : begun] if opens else []
        if rows and self.end_of(minutes, rows[-1].open_ms) > now_ms:
            newest = rows.pop()
            if with_open:
                rows.append(self._as_of(minutes, newest, now_ms))
        return rows

    def bar_at(self, minutes: int, at_ms: int) -> Bar | None:
        """The bar that holds `at_ms` as it stands then."""
        opens = self._opens.get(minutes, [])
        place = bisect_right(opens, at_ms) - 1
        if place < 0 or at_ms >= self.end_of(minutes, opens[place]):
            return None
        return self._as_of(minutes, self._bars[minutes][place], at_ms)

    def ended_at(self, minutes: int, boundary_ms: int) -> Bar | None:
        """The bar that ended just then."""
        opens = self._opens.get(minutes, [])
        place = bisect_left(opens, boundary_ms) - 1
        if place < 0 or self.end_of(minutes, opens[place]) != boundary_ms:
            return None
        return self._bars[minutes][place]

    def _as_of(self, minutes: int, bar: Bar, at_ms: int) -> Bar:
        """How a bar comes about was not recorded: open, high, low, close, a quarter of its length each."""
        length = self.end_of(minutes, bar.open_ms) - bar.open_ms
        quarter = min(3, 4 * (at_ms - bar.open_ms) // length) + 1
        shown = (bar.open, bar.high, bar.low, bar.close)[:quarter]
        lots = bar.lots * quarter // 4
        return replace(
            bar,
            high=max(shown),
            low=min(shown),
            close=shown[-1],
            lots=lots,
            quote=shown[-1] * lots,
            trades=-(-bar.trades * quarter // 4),
        )
