"""Which frames the closer does not believe: one that opens where no candle can be would hide all others."""

from __future__ import annotations

from typing import Final

from livermore_dagster.market.closing_state import Series
from livermore_dagster.market.closing_types import Effects, Frame

__all__ = ["is_passed_over"]

_FAR_MS: Final = 3_600_000
"""Real time: how far ahead of the exchange's clock a frame's own time may be; after a pause it is ahead."""
_BARS_BACK: Final = 1_000
"""How far behind it an update may open; the rows of a snapshot may be older."""


def is_passed_over(
    series: Series, frame: Frame, connection: str, now_ms: int, speed: float, effects: Effects
) -> bool:
    """Whether `frame` opens where no candle of its time can; what is held is then doubted, for it is lost.

    A candle opens before its frame is sent; more than a bar after it, by the frame's own time and by the
    exchange's clock (`now_ms`, 0 at first), is no matter of two clocks that differ.
    """
    open_ms, sent_ms = frame.candle.open_ms, frame.event_ms
    if now_ms:
        sent_ms = max(now_ms, min(sent_ms, now_ms + int(_FAR_MS * speed)))
    ahead_ms = open_ms - sent_ms
    if ahead_ms <= series.step and (frame.snapshot or -ahead_ms <= _BARS_BACK * series.step):
        return False
    series.doubt_held()
    where = f"{ahead_ms} ms after" if ahead_ms > 0 else f"{-ahead_ms} ms before"
    what = f"{series.symbol} {series.timeframe.value} opens at {open_ms}, {where} it was sent"
    effects.disbelieved.append((connection, what))
    return True
