"""How many symbols an exchange's request limit lets be fetched in time (R11)."""

from __future__ import annotations

from typing import Final

from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import BOUNDARY_TIMEFRAMES

__all__ = ["IN_TIME_S", "symbols_in_time"]

IN_TIME_S: Final = 60
"""Seconds after a boundary within which the signals of its timeframes are due."""


def symbols_in_time(row: ExchangeRow) -> int | None:
    """Symbols whose candles can all be fetched within IN_TIME_S of 00:00 UTC, when every timeframe is due.

    None where the exchange streams them all: a boundary then takes no request.
    """
    fetched = [tf for tf in BOUNDARY_TIMEFRAMES if tf in row.timeframes and tf not in row.streamed_timeframes]
    if not fetched:
        return None
    limit = row.api_limits["rest"]
    weight = limit["capacity"] * row.api_limits["use"] * IN_TIME_S * 1000 / limit["window_ms"]
    return int(weight / row.api_limits["weights"]["candles"] / len(fetched))
