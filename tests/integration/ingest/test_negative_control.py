"""The same warm-up of twenty symbols with and without the rate budget: that no 429 comes is its doing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from livermore_dagster.exchanges.universe import rank_universe
from livermore_dagster.ingest import warmup
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.warmup import WarmupReport, warm_up
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import metrics
from tests.integration.ingest.played import Platform, played
from tests.no_budget import NoBudget

# Half a minute after 00:00: every timeframe has just closed a bar.
START = 1_767_657_600_000 + 30_000
SYMBOLS = 20
TIMEFRAMES = (Timeframe.M5, Timeframe.M15)
"""Enough requests to overrun ten a second several times."""


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["coinbase"], speed=1.0, start_ms=START) as platform:
        yield platform


async def warm(market: Platform, *, budget: bool) -> tuple[WarmupReport, int, int]:
    """The warm-up's report, the 429 given by the exchange, and those our counters saw."""
    async with open_context("coinbase", market) as ctx:
        symbols = [one.symbol for one in rank_universe(await ctx.client.products(), ctx.row, SYMBOLS)]
        assert len(symbols) == SYMBOLS
        if not budget:
            ctx.client._caller.budget = NoBudget()
        report = await warm_up(ctx, symbols, timeframes=TIMEFRAMES)
        counted = await metrics.read_counters(ctx.redis, ctx.row.id)
    seen = await asyncio.to_thread(market.ask, "coinbase", "counters")
    return report, seen["http_429"], counted.get("http_429", 0)


async def test_with_the_budget_no_request_of_a_warm_up_is_refused(market: Platform) -> None:
    report, given, counted = await warm(market, budget=True)
    assert (given, counted) == (0, 0)
    assert report.stats.failed == []
    assert report.stats.requests >= SYMBOLS * len(TIMEFRAMES), "a request for each series at least"


async def test_without_the_budget_the_exchange_refuses(
    market: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmup, "LONGEST_CLOSURE_S", 0)  # a refusal is to be seen, not waited out
    report, given, counted = await warm(market, budget=False)
    if not given:  # this machine was slower than the limit, but not than a fifth of it
        market.change("coinbase", rate=2.0, burst=5.0)
        market.execute("TRUNCATE asked_ranges")
        with market.redis() as client:
            client.delete(*client.scan_iter("candles:*"))
        report, given, counted = await warm(market, budget=False)
    assert given > 0
    assert counted == given
    assert report.stats.failed
