"""Which early rows are asked for once more by a warm-up."""

from __future__ import annotations

from msgspec.structs import replace

from livermore_dagster.ingest.early import left_over
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe

H1 = Timeframe.H1.ms
BEGIN = 1_767_657_600_000
ROW = StampedCandle(
    "BTC-USD", Timeframe.H1, Candle(BEGIN, "1", "2", "1", "2", "5"), Rank.FINAL, BEGIN + H1, Origin.BOUNDARY
)


def test_a_row_that_came_early_and_none_that_has_settled() -> None:
    assert left_over([ROW, replace(ROW, rank=Rank.SETTLED)], BEGIN + H1) == [ROW]


def test_what_came_back_from_postgresql_is_not_early_again() -> None:
    """It keeps the rank it was stored with: a whole history would be asked for anew."""
    assert left_over([replace(ROW, origin=Origin.WARMUP)], BEGIN + H1) == []


def test_the_newest_15m_is_left_to_the_next_run() -> None:
    candle = replace(ROW, timeframe=Timeframe.M15)
    assert left_over([candle], candle.end_ms + Timeframe.M15.ms - 1) == []
    assert left_over([candle], candle.end_ms + Timeframe.M15.ms) == [candle]
