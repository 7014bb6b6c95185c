"""A decoder's events, taken to the closer as the pipeline takes them."""

from __future__ import annotations

from collections.abc import Sequence

from livermore_dagster.exchanges.contract import CandleFrame, ErrorFrame, SequenceGap, StreamEvent
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.closing import Closer, Effects, Question


class Rig:
    """The exchange's clock is the newest stamp of a candle."""

    def __init__(self, closer: Closer) -> None:
        self.closer = closer
        self.writes: list[StampedCandle] = []
        self.questions: list[Question] = []
        self.now_ms = 0

    def play(self, events: Sequence[StreamEvent]) -> None:
        for event in events:
            if isinstance(event, CandleFrame):
                self.now_ms = max(self.now_ms, event.event_ms)
                self._take(self.closer.on_frame(event, "ws"))
            elif isinstance(event, ErrorFrame) and event.loses_candles:
                self._take(self.closer.on_unread("ws", event.symbol, event.message))
            elif isinstance(event, SequenceGap):
                self._take(self.closer.on_break("ws", "a gap"))
        self.clock(self.now_ms)

    def clock(self, now_ms: int) -> None:
        self._take(self.closer.on_clock(now_ms))

    def _take(self, effects: Effects) -> None:
        self.writes += effects.writes
        self.questions += effects.questions
