"""The audit that asks the exchange, when it does not go as it should."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livermore_dagster.audit import exchange_candles
from livermore_dagster.audit.cells import open_cell
from livermore_dagster.audit.exchange_candles import matches_exchange
from livermore_dagster.errors import ExchangeError
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.selection import tell_monitored
from livermore_dagster.ingest.warmup import warm_up
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from tests.integration.ingest.played import IDS, Platform, played

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

        verdict = await matches_exchange(cell, cell.bars_before(20), fails)
        assert (verdict.passed, verdict.complete) == (False, False)
        assert verdict.numbers["ended early"] == f"no answer over {SYMBOLS[0]}"
        assert verdict.numbers["symbols not asked"] == 2
        assert told(market) == ["3 1h candles differed from coinbase's and were repaired."]
        assert market.counters("coinbase")["audit_differences"] == 3

        monkeypatch.setattr(exchange_candles, "ROWS_KEPT", 2)
        verdict = await matches_exchange(cell, cell.bars_before(20))
        assert verdict.numbers["differences, now repaired"] == 3
        assert (verdict.passed, len(verdict.rows)) == (False, 2)
