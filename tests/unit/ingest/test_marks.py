"""What of the closer's doubts is told as lost."""

from __future__ import annotations

from types import SimpleNamespace

from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.marks import Marks
from livermore_dagster.market.closing import Closer
from livermore_dagster.market.exchange_clock import ExchangeClock
from livermore_dagster.market.timeframe import Timeframe


def test_only_what_is_lost_is_told() -> None:
    told: list[tuple[IncidentName, str]] = []
    pipeline = SimpleNamespace(on_notice=lambda name, place, text: told.append((name, text)))
    closer = Closer(["A"], [Timeframe.M5], flagged=False)
    marks = Marks(closer, ExchangeClock(), pipeline, "coinbase")  # type: ignore[arg-type]
    # A snapshot's is counted before it is asked for.
    for unproven, primed in ((0, 2), (2, 2)):
        closer.stats.unproven, closer.stats.primed = unproven, primed
        marks.look()
    assert told == []
    closer.stats.unproven = 5
    marks.look()
    assert [name for name, _ in told] == [IncidentName.FLAGS_LOST]
    assert told[0][1].startswith("3 candles ended without proof")
