"""Which symbols a restart monitors, and when it asks the exchange for its list (P10)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from livermore_dagster.accounts.monitored import Gone
from livermore_dagster.clock import SystemClock
from livermore_dagster.errors import UnknownSymbol
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.symbols import keep_product_list, resolve_monitored
from livermore_dagster.stores.postgres.symbols import SymbolRow, upsert_symbols
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice
from livermore_dagster.stores.redis.metrics import read_counters, read_incidents
from tests.integration.ingest.played import IDS, Platform, played

MINUTE = 60_000
TOP = Desired("running", SymbolChoice(top=3))


def chosen(*symbols: str) -> Desired:
    return Desired("running", SymbolChoice(listed=symbols))


class LateClock(SystemClock):
    """Real time, put forward by `ahead_ms`; long sleeps end at once, twice."""

    ahead_ms = 0
    naps = 2

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms

    async def sleep(self, seconds: float) -> None:
        if seconds < 60:
            await super().sleep(seconds)
        elif self.naps:
            self.naps -= 1
        else:
            await asyncio.Event().wait()


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["binance"], 1.0, 1_767_655_800_000) as platform:
        yield platform


async def test_the_list_is_asked_for_again_only_an_hour_after_the_last_use(market: Platform) -> None:
    clock = LateClock()
    async with open_context("binance", market, clock=clock) as ctx:

        async def lists_asked() -> int:
            counters = await read_counters(ctx.redis, IDS["binance"])
            return sum(n for name, n in counters.items() if name.startswith("rest_requests:"))

        symbols = (await resolve_monitored(ctx, TOP)).ids
        asked = await lists_asked()
        assert asked > 0
        clock.ahead_ms = 50 * MINUTE
        using = asyncio.create_task(keep_product_list(ctx))
        async with asyncio.timeout(30):
            while clock.naps:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        using.cancel()
        clock.ahead_ms = 100 * MINUTE
        assert (await resolve_monitored(ctx, TOP)).ids == symbols
        other = await resolve_monitored(ctx, Desired("running", SymbolChoice(top=5)))
        assert other.ids[:3] == symbols
        assert await lists_asked() == asked
        clock.ahead_ms = 111 * MINUTE
        await resolve_monitored(ctx, TOP)
        assert await lists_asked() > asked


async def test_a_listed_symbol_that_was_delisted_is_told_and_left_out(market: Platform) -> None:
    async with open_context("binance", market) as ctx:
        async with ctx.pool.connection() as connection:
            await upsert_symbols(
                connection, ctx.row.id, [SymbolRow("GONEUSDT", "GONE", "USDT", trading=True)]
            )
        found = await resolve_monitored(ctx, chosen("BTCUSDT", "GONEUSDT", "ETHUSDT"))
        assert found.ids == ["BTCUSDT", "ETHUSDT"]
        assert [(one.symbol, one.why) for one in found.left_out] == [("GONEUSDT", Gone.DELISTED)]
        told = await read_incidents(ctx.redis)
        assert [(one.name, one.facts["symbol"]) for one in told] == [("symbol_gone", "GONEUSDT")]
        with pytest.raises(UnknownSymbol, match="NEVERUSDT"):
            await resolve_monitored(ctx, chosen("BTCUSDT", "NEVERUSDT"))
        with pytest.raises(UnknownSymbol, match="GONEUSDT"):
            await resolve_monitored(ctx, chosen("GONEUSDT"))


async def test_where_held_symbols_are_monitored_those_named_at_the_start_are_not_missed(
    market: Platform,
) -> None:
    async with open_context("binance", market) as ctx:
        [symbol] = (await resolve_monitored(ctx, Desired("running", SymbolChoice(top=1)))).ids
        named = replace(chosen(symbol), mode="position-monitor")
        assert (await resolve_monitored(ctx, named)).ids == []  # nothing is held
        assert (await resolve_monitored(ctx, chosen(symbol))).ids == [symbol]
