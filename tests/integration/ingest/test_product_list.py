"""A product list that lacks most of what was known is not believed at once; a good one settings hear of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from livermore_dagster.accounts import settings
from livermore_dagster.accounts.users import add_user
from livermore_dagster.errors import ProductListCut
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.symbols import refresh_products, resolve_monitored
from livermore_dagster.stores.postgres.user_settings import read_active_settings
from livermore_dagster.stores.postgres.users import User
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice
from livermore_dagster.stores.redis.metrics import read_incidents
from tests.integration.ingest.played import IDS, Platform, played

START_MS = 1_767_655_800_000
EXCHANGE = "coinbase"


@dataclass
class StepClock:
    """Wall time that the test moves; sleeping is real."""

    at_ms: int = START_MS

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic(self) -> float:
        return self.at_ms / 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, [EXCHANGE], 1.0, START_MS) as platform:
        yield platform


def listed(market: Platform) -> set[str]:
    return {row[0] for row in market.query("SELECT symbol FROM exchange_symbols WHERE listed")}


def remember_many(market: Platform) -> None:
    """As if the exchange had listed far more until now."""
    market.execute(
        "INSERT INTO exchange_symbols (exchange_id, symbol, base, quote, trading)"
        " SELECT %s, 'OLD' || n || '-USD', 'OLD' || n, 'USD', true FROM generate_series(1, 400) AS n",
        IDS[EXCHANGE],
    )


async def test_a_cut_list_changes_nothing_and_is_believed_when_it_says_so_again(market: Platform) -> None:
    clock = StepClock()
    async with open_context(EXCHANGE, market, clock=clock) as ctx:
        await refresh_products(ctx)
        whole = listed(market)
        remember_many(market)
        known = listed(market)
        for _ in range(2):
            with pytest.raises(ProductListCut, match="lacks 400 of"):
                await refresh_products(ctx)
            clock.at_ms += 60_000
        assert listed(market) == known
        told = [one for one in await read_incidents(ctx.redis) if one.name == "product_list_cut"]
        assert len(told) == 2
        assert market.counters(EXCHANGE)["product_lists_refused"] == 2
        clock.at_ms += 600_000
        assert len((await refresh_products(ctx)).delisted) == 400
        assert listed(market) == whole
        assert not await ctx.redis.exists(keys.product_list_refused(ctx.row.id))


async def test_a_start_goes_on_with_the_list_before_when_the_new_one_is_cut(market: Platform) -> None:
    clock = StepClock()
    async with open_context(EXCHANGE, market, clock=clock) as ctx:
        wanted = Desired("running", SymbolChoice(top=5))
        before = (await resolve_monitored(ctx, wanted)).ids
        remember_many(market)
        clock.at_ms += 2 * 3_600_000  # the list is in use no more: it is asked for anew
        assert (await resolve_monitored(ctx, wanted)).ids == before
        assert [one.name for one in await read_incidents(ctx.redis)] == ["product_list_cut"]


async def test_whose_scanner_it_is_hears_when_the_list_was_made_and_no_change_becomes_stale(
    market: Platform,
) -> None:
    scanners = {"ana": {"exchange": EXCHANGE}, "bo": {"exchange": "binance"}, "cy": {}}
    async with (
        open_context(EXCHANGE, market) as ctx,
        await psycopg.AsyncConnection.connect(market.database_url) as connection,
    ):
        for sub, scanner in scanners.items():
            await add_user(connection, User(0, "local", sub, "", sub, None, "admin"))
            for name, value in {"top_n": 20, **scanner}.items():
                await settings.patch(connection, ctx.redis, sub, f"scanner.{name}", value, by="test")
        revisions = {one.sub: one.revision for one in await read_active_settings(connection)}
        before = ctx.clock.now_ms()
        await refresh_products(ctx)
        found = {sub: await settings.load(connection, sub) for sub in scanners}
        for sub in ("ana", "cy"):
            made_ms = found[sub].document.scanner.last_update_ms
            assert made_ms is not None
            assert before <= made_ms <= ctx.clock.now_ms()
        assert found["bo"].document.scanner.last_update_ms is None
        assert {one.sub: one.revision for one in found.values()} == revisions
        # What was made from the document before it was noted is taken as ever.
        text = json.dumps(found["ana"].document.model_dump(mode="json"))
        again = await settings.replace(
            connection, ctx.redis, "ana", text, by="test", made_from=revisions["ana"]
        )
        assert again.document == found["ana"].document
