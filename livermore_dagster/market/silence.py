"""When a market that traded in nearly every bar trades no more: perhaps it was halted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from livermore_dagster.market.candle import Candle

__all__ = ["BARS", "fell_silent"]

_SILENT: Final = 3
_OF: Final = 32
_STEADY: Final = 30
BARS: Final = _SILENT + _OF
"""So many bars before the stretch that is judged tell enough."""


def fell_silent(candles: Sequence[Candle], from_ms: int, to_ms: int, step_ms: int) -> bool:
    """Whether its third bar without a trade, after it had traded in 30 of 32, ended in (`from_ms`, `to_ms`].

    `candles`: final ones of the bars that ended by `to_ms`, oldest first; times are epoch ms. True for one
    stretch of each silence only, so that whoever is told of it is told once.
    """
    traded = [candle.open_ms for candle in candles if candle.observed]
    if not traded:
        return False
    last = traded[-1]
    steady = sum(last - open_ms < _OF * step_ms for open_ms in traded) >= _STEADY
    return steady and from_ms < last + (_SILENT + 1) * step_ms <= to_ms
