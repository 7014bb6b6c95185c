"""What is being warmed up is judged when it is warm, and not before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livermore_dagster.audit.cells import open_cell
from livermore_dagster.audit.stored_candles import fresh, no_gaps
from livermore_dagster.control.claim import Claim
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.selection import tell_monitored, tell_warm
from livermore_dagster.ingest.warmup import warm_up
from livermore_dagster.market.timeframe import Timeframe
from tests.integration.ingest.played import IDS, Platform, played

START_MS = 1_767_655_800_000
OLD, NEW = "BTC-USD", "ETH-USD"
H1 = Timeframe.H1


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["coinbase"], 1.0, START_MS) as platform:
        yield platform


async def test_a_symbol_that_is_warming_up_is_no_gap(market: Platform) -> None:
    with market.redis() as client:
        claim = Claim(client, IDS["coinbase"], "coinbase")
        claim.acquire()
        async with open_context("coinbase", market) as ctx:
            await warm_up(ctx, [OLD], timeframes=[H1])
            cached = await ctx.cache.read(OLD, H1)
            await ctx.table.upsert(ctx.row.id, cached)
            await tell_monitored(ctx, [OLD, NEW], [NEW])

            cell = await open_cell(ctx, H1)
            assert list(cell.symbols) == [OLD, NEW]
            verdict = await no_gaps(cell, cell.bars_before(200))
            assert (verdict.passed, verdict.rows) == (True, [])
            assert verdict.numbers["symbols still warming up"] == 1
            assert (await fresh(cell)).numbers["symbols without any"] == 0

            await tell_warm(ctx, [NEW])
            verdict = await no_gaps(await open_cell(ctx, H1), cell.bars_before(200))
            assert {row["symbol"] for row in verdict.rows} == {NEW}

            await tell_monitored(ctx, [OLD, NEW], [NEW])
            claim.release()
            assert (await open_cell(ctx, H1)).judged == [OLD, NEW], "nobody is warming it up any more"
