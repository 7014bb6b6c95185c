"""What is being warmed up is judged when it is warm, and not before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from livermore_dagster.audit.cell import MarketNow
from livermore_dagster.audit.cells import newest_boundary, open_cell
from livermore_dagster.audit.exchange_audit import audit, plan_audit
from livermore_dagster.audit.series_sync import settled_until
from livermore_dagster.audit.stored_candles import fresh, no_gaps
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.intake import store_absent
from livermore_dagster.ingest.selection import tell_monitored, tell_warm
from livermore_dagster.ingest.warmup import warm_up
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
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
        claim.advance(InstanceState.STARTING)
        claim.advance(InstanceState.WARMING)
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

            await tell_warm(ctx, [NEW], None)
            verdict = await no_gaps(await open_cell(ctx, H1), cell.bars_before(200))
            assert {row["symbol"] for row in verdict.rows} == {NEW}

            await tell_monitored(ctx, [OLD, NEW], [OLD, NEW])
            verdicts = [one.verdict for one in await audit(await plan_audit(ctx, [H1], None, None))]
            assert [one.passed for one in verdicts] == [False] * 5, "nothing was judged"
            assert verdicts[0].numbers["not judged"] == "all 2 symbols are still warming up"

            claim.advance(InstanceState.IDLE)
            assert (await open_cell(ctx, H1)).judged == [OLD, NEW], "nobody is warming them up any more"
            claim.release()
            assert (await open_cell(ctx, H1)).judged == [OLD, NEW]


async def test_what_the_store_writer_has_not_come_to_yet_is_neither_gap_nor_stale(market: Platform) -> None:
    """Nothing brings short timeframes up before they are judged."""
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, [OLD], timeframes=[Timeframe.M5])
        await ctx.table.upsert(ctx.row.id, (await ctx.cache.read(OLD, Timeframe.M5))[:-2])
        await tell_monitored(ctx, [OLD], [])
        cell = await open_cell(ctx, Timeframe.M5)
        judged = [await fresh(cell), await no_gaps(cell, cell.bars_before(200))]
        assert [one.passed for one in judged] == [True, True]
        market.execute("DELETE FROM candles WHERE open_ms >= %s", cell.bars_before(2))
        assert (await no_gaps(cell, cell.bars_before(200))).passed


async def test_what_an_instance_settled_before_it_was_stopped_is_not_now(market: Platform) -> None:
    """It stays registered, idle, with its last `settled` in Redis."""
    hours_ago = market.market_now("coinbase") - 5 * H1.ms
    with market.redis() as client:
        claim = Claim(client, IDS["coinbase"], "coinbase")
        claim.acquire()
        for state in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
            claim.advance(state)
        client.set(keys.settled(IDS["coinbase"]), hours_ago)
        async with open_context("coinbase", market) as ctx:
            await tell_monitored(ctx, [OLD], [])
            assert await newest_boundary(ctx, H1) == H1.open_of(hours_ago)
            for change in (
                lambda: claim.update(paused=True),
                lambda: claim.advance(InstanceState.STOPPING),
                lambda: claim.advance(InstanceState.STOPPED),
                lambda: claim.advance(InstanceState.IDLE),
            ):
                change()
                now = H1.open_of(market.market_now("coinbase"))
                assert await newest_boundary(ctx, H1) == now
                assert await settled_until(await open_cell(ctx, Timeframe.M5, now)) == now
            assert not (await fresh(await open_cell(ctx, H1))).passed
        claim.release()


@contextmanager
def flowing(market: Platform, settled_ms: int) -> Iterator[None]:
    with market.redis() as client:
        claim = Claim(client, IDS["coinbase"], "coinbase")
        claim.acquire()
        for state in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
            claim.advance(state)
        client.set(keys.settled(IDS["coinbase"]), settled_ms)
        yield
        claim.release()


async def test_an_instance_whose_candles_stand_still_is_not_fresh(market: Platform) -> None:
    """By hand the boundary is that of what has settled: against it nothing is ever late."""
    five = Timeframe.M5
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, [OLD], timeframes=[five])
        await tell_monitored(ctx, [OLD], [])
        end_ms = (await ctx.cache.read(OLD, five))[-1].end_ms
        with flowing(market, end_ms):
            for minutes, speed, passed in ((2, 1.0, True), (180, 1.0, False), (100, 60.0, True)):
                cell = await open_cell(ctx, five, market=MarketNow(end_ms + minutes * 60_000, speed))
                verdict = await fresh(cell)
                assert verdict.passed == passed, minutes
                assert ("settled only up to (UTC)" in verdict.numbers) != passed


async def test_a_fetched_bar_may_be_silent_until_the_next_boundary_proves_it(market: Platform) -> None:
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, [OLD], timeframes=[H1])
        await tell_monitored(ctx, [OLD], [])
        await ctx.table.upsert(ctx.row.id, await ctx.cache.read(OLD, H1))
        end_ms = (await ctx.cache.read(OLD, H1))[-1].end_ms
        for bars, missing in ((1, 0), (2, 1)):
            cell = await open_cell(ctx, H1, end_ms + bars * H1.ms)
            verdict = await no_gaps(cell, cell.bars_before(200))
            assert verdict.numbers["bars missing"] == missing


async def test_a_streamed_bar_that_nobody_has_is_not_fresh_unless_it_is_absent(market: Platform) -> None:
    five = Timeframe.M5
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, [OLD], timeframes=[five])
        await tell_monitored(ctx, [OLD], [])
        end_ms = (await ctx.cache.read(OLD, five))[-1].end_ms
        cell = await open_cell(ctx, five, end_ms + five.ms)
        assert (await fresh(cell)).passed, "nothing streams it: it may be fetched yet"
        with flowing(market, cell.boundary_ms):
            assert not (await fresh(cell)).passed
            await store_absent(ctx, [(OLD, five, end_ms, cell.boundary_ms)], end_ms)
            assert (await fresh(cell)).passed
