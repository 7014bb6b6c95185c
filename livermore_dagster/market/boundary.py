"""Which timeframes end at a 15m boundary of the exchange's clock, and which a backlog of them has due."""

from __future__ import annotations

from collections.abc import Sequence

from livermore_dagster.market.timeframe import BOUNDARY_TIMEFRAMES, Timeframe

__all__ = ["BOUNDARY_MS", "boundary_of", "due"]

BOUNDARY_MS = Timeframe.M15.ms


def boundary_of(at_ms: int) -> int:
    """Newest 15m boundary at or before `at_ms` (epoch ms, UTC)."""
    return at_ms - at_ms % BOUNDARY_MS


def due(
    last_handled: int | None, newest: int, timeframes: Sequence[Timeframe] = BOUNDARY_TIMEFRAMES
) -> tuple[Timeframe, ...]:
    """Timeframes of which a candle ended in (last_handled, newest]: the union over a backlog of boundaries.

    Without a `last_handled` boundary, those that end at `newest` itself.
    """
    since = newest - BOUNDARY_MS if last_handled is None else last_handled
    return tuple(tf for tf in timeframes if newest // tf.ms > since // tf.ms)
