"""An alert to try channels with: the newest stored one with its own bars, else one of a made-up series."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, Final

from psycopg import AsyncConnection

from livermore_dagster.market.bias import Bias
from livermore_dagster.market.candle import Candle, canonical
from livermore_dagster.market.macdv import MacdvPoint, step
from livermore_dagster.market.stages import stage_of
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import AlertRow
from livermore_dagster.stores.postgres.deliveries import HeardAlert, newest_alert

__all__ = ["made_up", "newest_alert", "sample_alert"]

_FRAME: Final = Timeframe.M15
_BARS: Final = 320
_FALL: Final = 40


async def sample_alert(connection: AsyncConnection[Any], now_ms: int) -> tuple[HeardAlert, list[Candle]]:
    """The alert, and its bars where they are not to be read from the stores."""
    stored = await newest_alert(connection)
    return (stored, []) if stored is not None else made_up(now_ms)


def made_up(now_ms: int) -> tuple[HeardAlert, list[Candle]]:
    """A series that has just fallen through −150."""
    bars, point = _until_crossing(_bars(_FRAME.open_of(now_ms) - _BARS * _FRAME.ms))
    value = point.macdv if point.macdv is not None else 0.0
    end_ms = bars[-1].open_ms + _FRAME.ms
    stage = stage_of(point.macdv, point.signal)
    own = {
        "value": value, "signal": point.signal, "stage": stage.value, "open_ms": point.open_ms,
        "reason": None,
    }  # fmt: skip
    alert = AlertRow(
        symbol="SAMPLE-USD", timeframe=_FRAME, label="level_-150", kind="level", direction="down",
        open_ms=point.open_ms, candle_end_ms=end_ms, triggered_ms=end_ms, price=bars[-1].close,
        price_source="candle_close", price_age_ms=0, macdv=value, signal=point.signal,
        histogram=point.histogram, stage=stage.value, previous_label=None, timeframes={_FRAME.value: own},
        bias=Bias.BULLISH.value, late=False, revised=False,
    )  # fmt: skip
    return HeardAlert(0, "coinbase", "made up", None, alert), bars


def _bars(begin_ms: int) -> list[Candle]:
    draw = random.Random(7)  # noqa: S311 - a picture, not a secret
    price, found = 240.0, []
    for index in range(_BARS):
        falling = index > _BARS - _FALL
        drift = -0.0022 if falling else 0.0011 * math.sin(index / 17)
        before = price
        price *= math.exp(drift + draw.gauss(0, 0.0012))
        high, low = (
            max(before, price) * (1 + abs(draw.gauss(0, 5e-4))),
            min(before, price) * (1 - abs(draw.gauss(0, 5e-4))),
        )
        opened, top, bottom, closed = (canonical(f"{number:.2f}") for number in (before, high, low, price))
        volume = canonical(f"{draw.expovariate(0.1) + 1:.2f}")
        found.append(Candle(begin_ms + index * _FRAME.ms, opened, top, bottom, closed, volume))
    return found


def _until_crossing(bars: Sequence[Candle]) -> tuple[list[Candle], MacdvPoint]:
    """The bars up to the one at which the fall has just passed −150, and its values."""
    state, point = step(None, bars[0], _FRAME)
    for index, bar in enumerate(bars[1:], 2):
        before = point.macdv or 0.0
        state, point = step(state, bar, _FRAME)
        if index > _BARS - _FALL and before >= -150 > (point.macdv or 0.0):
            return list(bars[:index]), point
    return list(bars), point
