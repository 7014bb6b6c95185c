"""What a request limit lets be served in time."""

from __future__ import annotations

from dataclasses import replace

from livermore_dagster.exchanges.rows import BINANCE, COINBASE
from livermore_dagster.ingest.capacity import symbols_in_time
from livermore_dagster.market.timeframe import Timeframe


def test_a_minute_of_the_limit_is_shared_by_the_timeframes_that_are_fetched() -> None:
    assert symbols_in_time(COINBASE) == 120  # 8 requests a second of its 10, four timeframes
    without_4h = tuple(tf for tf in COINBASE.timeframes if tf is not Timeframe.H4)
    assert symbols_in_time(replace(COINBASE, timeframes=without_4h)) == 160


def test_an_exchange_that_streams_everything_needs_no_request() -> None:
    assert symbols_in_time(BINANCE) is None
