"""A warm-up is as quick as the exchange's limit lets it be."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from livermore_dagster.ingest.context import ExchangeContext, open_context
from livermore_dagster.ingest.warmup import warm_up
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from tests.integration.ingest.played import Platform, played
from tests.integration.ingest.test_rest_flows import START, symbols_of
from tests.no_budget import NoBudget


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["coinbase"], speed=1.0, start_ms=START) as platform:
        yield platform


async def test_warm_up_takes_no_longer_than_the_limit_imposes(
    market: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what this machine takes for as much without any limit; once in three, for that may change."""
    over_s: list[float] = []
    async with open_context("coinbase", market) as ctx:
        symbols = await symbols_of(market, "coinbase", {"liquid": 12})
        await ctx.exchange_now()
        while len(over_s) < 3 and (not over_s or over_s[-1] > 0):
            with monkeypatch.context() as unlimited:
                unlimited.setattr(ctx.client._caller, "budget", NoBudget())
                market.change("coinbase", rate=1e6, burst=1e6)
                bare_s, requests = await _warmed_up(market, ctx, symbols)
            market.change("coinbase", rate=10, burst=10)
            seconds, asked = await _warmed_up(market, ctx, symbols)
            assert asked == requests >= 36
            rule = 8.0  # requests a second
            over_s.append(seconds - bare_s - (1.05 * asked / rule + 1.0))
    assert min(over_s) <= 0, over_s


async def _warmed_up(market: Platform, ctx: ExchangeContext, symbols: list[str]) -> tuple[float, int]:
    """Seconds and requests that it takes; all is then forgotten again."""
    timeframes = [Timeframe.M5, Timeframe.M15, Timeframe.H1]
    started = time.monotonic()
    report = await warm_up(ctx, symbols, timeframes=timeframes)
    seconds = time.monotonic() - started
    await ctx.redis.delete(*(keys.candles(ctx.row.id, one, tf) for one in symbols for tf in timeframes))
    market.execute("TRUNCATE asked_ranges")
    return seconds, report.stats.requests
