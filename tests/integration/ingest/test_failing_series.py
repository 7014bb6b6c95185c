"""Series that fail at a boundary, against the played exchange: tried again alone, and when they are left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from livermore_dagster.errors import RateLimited
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext, open_context
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.stream_side import StreamSide
from livermore_dagster.ingest.supervise import Supervisor
from livermore_dagster.market.timeframe import Timeframe
from tests.integration.ingest.played import Platform, played
from tests.integration.ingest.test_rest_flows import assert_cache_is_true, symbols_of

# Half a minute after 00:00: every timeframe has just closed a bar.
START = 1_767_657_600_000 + 30_000


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["coinbase"], speed=1.0, start_ms=START) as platform:
        yield platform


@pytest.fixture
async def coinbase(market: Platform) -> AsyncIterator[ExchangeContext]:
    async with open_context("coinbase", market) as ctx:
        yield ctx


async def _untold(part: str, text: str) -> None:
    raise AssertionError(f"{part} failed: {text}")


async def test_a_boundary_with_a_failed_series_is_not_handled(
    market: Platform, coinbase: ExchangeContext
) -> None:
    """A 429 or an outage of seconds must not cost a 1d candle its boundary."""
    symbols = await symbols_of(market, "coinbase", {"liquid": 2})
    board = StatusBoard(None, coinbase.redis, coinbase.row.id)  # type: ignore[arg-type]
    side = StreamSide(coinbase, board, Supervisor(coinbase.clock, _untold), symbols, Patience())
    market.fault("coinbase", kind="rate_limit", endpoint="candles", count=1, retry_after_s=1)
    with pytest.raises(RateLimited, match=r"1 of 2 series could not be fetched") as closed:
        await side.fallback.fetch(START - 30_000, [Timeframe.H1])
    assert closed.value.retry_at_ms > 0
    await side.fallback.fetch(START - 30_000, [Timeframe.H1])
    await assert_cache_is_true(market, coinbase, symbols, Timeframe.H1)


async def test_a_series_that_keeps_failing_is_all_that_is_tried_again_and_is_left_to_repair(
    market: Platform, coinbase: ExchangeContext
) -> None:
    """A 5xx on one product can last for hours: the others' boundary must not wait for it."""
    boundary, hour = START - 30_000, Timeframe.H1
    symbols = await symbols_of(market, "coinbase", {"liquid": 3})
    board = StatusBoard(None, coinbase.redis, coinbase.row.id)  # type: ignore[arg-type]
    side = StreamSide(coinbase, board, Supervisor(coinbase.clock, _untold), symbols, Patience())
    tries = []
    for _ in range(2):
        market.fault("coinbase", kind="rate_limit", endpoint="candles", count=1, retry_after_s=1)
        with pytest.raises(RateLimited, match=r"1 of 3 series could not be fetched"):
            await side.fallback.fetch(boundary, [hour])
        assert side.fallback.partial is not None
        tries.append(side.fallback.partial.series)
    # One that was asked for again would have another report.
    asked = [new is not old for old, new in zip(*tries, strict=True)]
    assert asked == [one.outcome == "failed" for one in tries[0]]
    assert [one.outcome == "failed" for one in tries[1]] == asked
    assert not side.fallback.leave_failed(boundary - hour.ms), "of another boundary nothing is known"
    waiting = side.repairs.waiting
    assert side.fallback.leave_failed(boundary)
    assert side.repairs.waiting == waiting + 1


async def test_while_most_series_fail_the_boundary_stays_due(
    market: Platform, coinbase: ExchangeContext
) -> None:
    symbols = await symbols_of(market, "coinbase", {"liquid": 1})
    board = StatusBoard(None, coinbase.redis, coinbase.row.id)  # type: ignore[arg-type]
    side = StreamSide(coinbase, board, Supervisor(coinbase.clock, _untold), symbols, Patience())
    market.fault("coinbase", kind="rate_limit", endpoint="candles", count=1, retry_after_s=1)
    with pytest.raises(RateLimited, match=r"1 of 1 series could not be fetched"):
        await side.fallback.fetch(START - 30_000, [Timeframe.H1])
    assert not side.fallback.leave_failed(START - 30_000)
    assert side.repairs.waiting == 0
