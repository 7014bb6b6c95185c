"""What a connection brings beside good candles: doubted, counted, told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.contract import CandleFrame, ErrorFrame, StreamEvent
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.pipeline import Pipeline
from livermore_dagster.market.candle import Candle
from livermore_dagster.market.closing import Closer, Question, Reason
from livermore_dagster.market.exchange_clock import ExchangeClock
from livermore_dagster.market.timeframe import Timeframe

START = 1_767_655_800_000
STEP = Timeframe.M5.ms


class Rig:
    def __init__(self) -> None:
        self.finals: list[str] = []
        self.questions: list[Question] = []
        self.told: list[tuple[IncidentName, str]] = []
        self.counts: Counter[str] = Counter()

        def offer(writes: Sequence[Any]) -> None:
            self.finals += [write.symbol for write in writes if write.rank]

        self.pipeline = Pipeline(
            Closer(["A", "B"], [Timeframe.M5], flagged=False),
            ExchangeClock(),
            SystemClock(),
            SimpleNamespace(offer=offer),
            SimpleNamespace(),
            SimpleNamespace(on_clock=lambda now_ms: None),
            SimpleNamespace(put=self.questions.extend),
            SimpleNamespace(count=lambda name, by=1: self.counts.update({name: by})),
            on_trouble=lambda name, connection, text: self.told.append((name, text)),
            on_renew=lambda connection: None,
        )

    def play(self, second: int, *events: StreamEvent) -> None:
        """Both symbols have an update at `second`, then come the events."""
        self.pipeline.on_events("ws", [candle("A", second), candle("B", second), *events])


def candle(symbol: str, second: int, opens: int | None = None, *, snapshot: bool = False) -> CandleFrame:
    at = START + second * 1_000
    open_ms = at - at % STEP if opens is None else START + opens * STEP
    return CandleFrame(symbol, Timeframe.M5, Candle(open_ms, "1", "1", "1", "1", str(second)), at, snapshot)


@pytest.mark.parametrize(
    ("event", "doubted"),
    [
        (ErrorFrame("malformed candle", loses_candles=True, symbol="A"), ["A"]),
        (ErrorFrame("malformed candles frame", loses_candles=True), ["A", "B"]),
        (ErrorFrame("no candle at all"), []),
        (candle("A", 299, opens=50), ["A"]),
    ],
)
def test_what_cannot_be_read_or_believed_is_counted_told_and_asked_of_rest(
    event: StreamEvent, doubted: list[str]
) -> None:
    rig = Rig()
    rig.play(297)
    rig.play(298)
    rig.play(299, event)
    rig.play(301)
    rig.play(303)
    assert rig.finals == [symbol for symbol in "AB" if symbol not in doubted]
    assert [(one.symbol, one.reason) for one in rig.questions] == [(s, Reason.UNPROVEN) for s in doubted]
    assert rig.counts["error_frames"] == 1
    assert [name for name, _ in rig.told] == [IncidentName.ERROR_FRAME]


def test_a_refused_upgrade_counts_as_a_refusal_of_rest_does() -> None:
    rig = Rig()
    rig.pipeline.on_limited("ws", 429, "not tried again for 60 s")
    rig.pipeline.on_limited("ws", 418, "not tried again for 60 s")
    assert (rig.counts["http_429"], rig.counts["http_418"]) == (1, 1)
    assert [name for name, _ in rig.told] == [IncidentName.HTTP_429, IncidentName.HTTP_418]


def test_the_first_burst_after_a_nights_sleep_is_believed() -> None:
    """The history a new socket begins with says itself how late it has become."""
    rig = Rig()
    for second in range(3):
        rig.play(second)
    rig.pipeline.on_break("ws", "gone")
    woke = 8 * 3_600
    rows = [
        candle(symbol, woke + late, opens=woke * 1_000 // STEP - back, snapshot=True)
        for back in range(100)
        for late, symbol in enumerate("AB")
    ]
    rig.pipeline.on_events("ws", rows)
    assert rig.counts["error_frames"] == 0
    assert rig.told == [(IncidentName.CONNECTION_LOST, "gone")]
    assert len(rig.finals) == 2 * 99
