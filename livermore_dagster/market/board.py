"""How a symbol stands over the six timeframes: value, stage and age of each, bias, portfolio signal.

The board of people's screens and the payload of an alert are the same facts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from livermore_dagster.market.bias import Bias, bias_of
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.portfolio import PORTFOLIO_TIMEFRAMES, PortfolioSignal, portfolio_signal
from livermore_dagster.market.stages import Stage
from livermore_dagster.market.timeframe import Timeframe

__all__ = [
    "NOT_COMPUTED",
    "NOT_STREAMED",
    "NO_VALUE_YET",
    "STALE",
    "UNSUPPORTED",
    "cells_of",
    "is_stale",
    "leaning",
    "outlook",
]

NOT_STREAMED: Final = "not streamed"
"""The exchange has the timeframe, but nothing brings it live (Coinbase 1m)."""
UNSUPPORTED: Final = "unsupported"
NOT_COMPUTED: Final = "not computed"
"""No active user wants the timeframe (`runtime.timeframes`)."""
STALE: Final = "stale"
NO_VALUE_YET: Final = "no value yet"
_STALE_BARS: Final = 2
_FETCH_MS: Final = 60_000
"""What closed may take this long to be fetched and folded before its predecessor is called stale."""


def cells_of(
    row: ExchangeRow,
    known: Mapping[Timeframe, Mapping[str, Any]],
    now_ms: int,
    computed: Collection[Timeframe] = tuple(Timeframe),
) -> dict[str, dict[str, Any]]:
    """The six timeframes' value, signal, stage, open_ms, reason and age_ms (since the candle's end).

    `known`: the symbol's newest indicators. `now_ms`: the exchange's clock. `computed`: those of which
    indicators are computed.
    """
    board: dict[str, dict[str, Any]] = {}
    live = row.live_timeframes
    for timeframe in Timeframe:
        found = known.get(timeframe)
        if found is not None and timeframe in live:
            shown = {name: found[name] for name in ("value", "signal", "stage", "open_ms", "reason")}
            age_ms = max(0, now_ms - found["open_ms"] - timeframe.ms)
            if is_stale(timeframe, age_ms):
                shown["reason"] = found["reason"] or STALE
            if timeframe not in computed:
                shown["reason"] = NOT_COMPUTED
            board[timeframe.value] = {**shown, "age_ms": age_ms}
            continue
        reason = UNSUPPORTED if timeframe not in row.timeframes else NOT_STREAMED
        if timeframe in live:
            reason = NO_VALUE_YET if timeframe in computed else NOT_COMPUTED
        board[timeframe.value] = {
            "value": None, "signal": None, "stage": Stage.UNKNOWN.value, "open_ms": None, "reason": reason,
            "age_ms": None,
        }  # fmt: skip
    return board


def is_stale(timeframe: Timeframe, age_ms: int) -> bool:
    """Two later bars should have come since: nobody can say how things stand now."""
    return age_ms > _STALE_BARS * timeframe.ms + _FETCH_MS


def leaning(cells: Mapping[str, Mapping[str, Any]]) -> Bias:
    """The bias (S8). What is stale counts as unknown: a leaning is said of now."""
    stages: dict[Timeframe, Stage] = {}
    for name, facts in cells.items():
        timeframe = Timeframe(name)
        stages[timeframe] = Stage(facts["stage"]) if _fresh(timeframe, facts) else Stage.UNKNOWN
    return bias_of(stages)


def outlook(cells: Mapping[str, Mapping[str, Any]]) -> PortfolioSignal:
    """The portfolio signal (S10); a stale value counts as none, with that reason."""
    values: dict[Timeframe, float | None] = {}
    reasons: dict[Timeframe, str] = {}
    for timeframe in PORTFOLIO_TIMEFRAMES:
        facts = cells[timeframe.value]
        values[timeframe] = facts["value"] if _fresh(timeframe, facts) else None
        if facts["reason"]:
            reasons[timeframe] = facts["reason"]
    return portfolio_signal(values, reasons)


def _fresh(timeframe: Timeframe, facts: Mapping[str, Any]) -> bool:
    age_ms = facts["age_ms"]
    return age_ms is not None and not is_stale(timeframe, age_ms)
