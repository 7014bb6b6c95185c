"""The audit that asks the exchange, when it does not go as it should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from livermore_dagster.audit import exchange_candles
from livermore_dagster.audit.cells import open_cell
from livermore_dagster.audit.exchange_candles import matches_exchange, pages_of
from livermore_dagster.audit.stored_candles import no_gaps
from livermore_dagster.errors import ExchangeError
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.selection import tell_monitored
from livermore_dagster.ingest.warmup import warm_up
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import UpsertCounts
from livermore_dagster.stores.redis import keys
from tests.integration.ingest.played import IDS, Platform, Subscriber, played, until

START_MS = 1_767_655_800_000
SYMBOLS = ["BTC-USD", "ETH-USD"]
H1 = Timeframe.H1


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["coinbase"], 1.0, START_MS) as platform:
        yield platform


def tamper(market: Platform, symbol: str, opens: list[int]) -> None:
    """Nobody but the exchange knows better."""
    with market.redis() as client:
        client.zremrangebyscore(keys.candles(IDS["coinbase"], symbol, H1), opens[0], opens[-1])
    market.execute(
        "UPDATE candles SET close = high + 1 WHERE symbol = %s AND timeframe = '1h' AND open_ms = ANY(%s)",
        symbol,
        opens,
    )


def told(market: Platform) -> list[str]:
    with market.redis() as client:
        return [fields["text"] for _, fields in client.xrange(keys.INCIDENTS) if fields["name"] == "audit"]


async def test_what_was_repaired_is_told_though_the_exchange_failed_then(
    market: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, SYMBOLS, timeframes=[H1])
        for symbol in SYMBOLS:
            await ctx.table.upsert(ctx.row.id, await ctx.cache.read(symbol, H1))
        await tell_monitored(ctx, SYMBOLS, [])
        cell = await open_cell(ctx, H1)
        wrong = [cell.newest_open_ms - bars * H1.ms for bars in (5, 4, 3)]
        for symbol in SYMBOLS:
            tamper(market, symbol, wrong)

        def fails(symbol: str) -> None:
            raise ExchangeError(f"no answer over {symbol}")

        monkeypatch.setattr(exchange_candles, "AT_ONCE", 1)
        verdict = await matches_exchange(cell, cell.bars_before(20), fails)
        assert (verdict.passed, verdict.complete) == (False, False)
        assert verdict.numbers["ended early"] == f"no answer over {SYMBOLS[0]}"
        assert verdict.numbers["symbols not asked"] == 2
        assert told(market) == ["Of coinbase's 1h candles 3 differed; repaired: 3."]
        assert market.counters("coinbase")["audit_differences"] == 3

        monkeypatch.setattr(exchange_candles, "ROWS_KEPT", 2)
        verdict = await matches_exchange(cell, cell.bars_before(20))
        assert verdict.numbers["now repaired"] == 3
        assert (verdict.passed, len(verdict.rows)) == (False, 2)


async def test_what_was_never_held_is_no_difference_and_no_gap(market: Platform) -> None:
    """A fresh home holds 300 bars; more is asked for by backfill, and by nobody else."""
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, SYMBOLS[:1], timeframes=[H1])
        await tell_monitored(ctx, SYMBOLS[:1], [])
        cell = await open_cell(ctx, H1)
        since_ms = cell.bars_before(2_000)
        assert await pages_of(cell, since_ms) == 1
        verdict = await matches_exchange(cell, since_ms)
        held = market.query("SELECT count(*), min(open_ms) FROM candles")[0]
        assert (verdict.passed, verdict.numbers["candles compared"]) == (True, held[0] - 1)
        assert held[1] > since_ms + 1_000 * H1.ms
        gaps = await no_gaps(cell, since_ms)
        assert gaps.passed
        for numbers in (verdict.numbers, gaps.numbers):
            assert str(numbers["never held (UTC)"]).startswith(f"{utc_text(since_ms)} to {utc_text(held[1])}")
        assert told(market) == []


async def test_what_is_repaired_long_after_is_stored_and_no_news(market: Platform) -> None:
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, SYMBOLS[:1], timeframes=[H1])
        await tell_monitored(ctx, SYMBOLS[:1], [])
        cell = await open_cell(ctx, H1)
        old, new = cell.bars_before(200), cell.bars_before(2)
        await ctx.table.upsert(ctx.row.id, await ctx.cache.read(SYMBOLS[0], H1))
        for at in (old, new):
            tamper(market, SYMBOLS[0], [at])
        news = Subscriber(market, keys.channel_close(ctx.row.id, SYMBOLS[0], H1))
        try:
            numbers = (await matches_exchange(cell, cell.bars_before(250))).numbers
            assert (numbers["candles that differed"], numbers["now repaired"]) == (2, 2)
            until(lambda: bool(news.messages), 60, "the candle of the last hour is news")
            assert [one["open_ms"] for one in news.messages] == [new]
        finally:
            news.close()


async def test_what_is_not_taken_is_not_called_repaired(market: Platform) -> None:
    """Another reader asked later than this one, and was told otherwise."""
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, SYMBOLS[:1], timeframes=[H1])
        await tell_monitored(ctx, SYMBOLS[:1], [])
        cell = await open_cell(ctx, H1)
        await ctx.table.upsert(ctx.row.id, await ctx.cache.read(SYMBOLS[0], H1))
        wrong = [cell.bars_before(9), cell.bars_before(8)]
        tamper(market, SYMBOLS[0], wrong)
        market.execute("UPDATE candles SET rank = 2, stamp_ms = 9000000000000 WHERE open_ms = %s", wrong[1])
        verdict = await matches_exchange(cell, cell.bars_before(20))
        assert not verdict.passed
        assert verdict.numbers["candles that differed"] == 2
        assert verdict.numbers["now repaired"] == 1
        assert verdict.numbers["not taken, for what is held is newer"] == 1
        assert told(market) == ["Of coinbase's 1h candles 2 differed; repaired: 1."]


async def test_only_series_with_gaps_are_brought_up(
    market: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, SYMBOLS, timeframes=[H1])
        await tell_monitored(ctx, SYMBOLS, [])
        cell = await open_cell(ctx, H1)
        for symbol in SYMBOLS:
            await ctx.table.upsert(ctx.row.id, await ctx.cache.read(symbol, H1))
        market.execute(
            "DELETE FROM candles WHERE symbol = %s AND open_ms = %s", SYMBOLS[1], cell.bars_before(9)
        )
        # None is an answer of the exchange's: only the cache has the candle.
        market.execute("DELETE FROM asked_ranges")
        upsert, stored = ctx.table.upsert, []

        async def watched(exchange_id: int, batch: Sequence[StampedCandle]) -> UpsertCounts:
            stored.append({one.symbol for one in batch})
            return await upsert(exchange_id, batch)

        monkeypatch.setattr(ctx.table, "upsert", watched)
        assert (await no_gaps(cell, cell.bars_before(20))).passed
        assert stored == [{SYMBOLS[1]}]
