"""What PostgreSQL takes over from the cache."""

from __future__ import annotations

import psycopg
from msgspec.structs import replace

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.series_sync import sync_from_cache
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.intake import store_candles
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from tests.integration.ingest.played import IDS, Platform

H1 = Timeframe.H1
BEGIN_MS = 1_767_657_600_000
END_MS = BEGIN_MS + H1.ms


async def test_a_row_that_a_second_look_confirmed_is_settled_at_rest_by_the_next_run(
    redis_url: str, database_url: str
) -> None:
    """Confirming changes no value, so no close tells the store of it."""
    candle = Candle(BEGIN_MS, "1", "2", "1", "2", "5")
    early = StampedCandle("BTC-USD", H1, candle, Rank.FINAL, END_MS + 1_000, Origin.BOUNDARY)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await upsert_rows(connection, ROWS)
    async with open_context("coinbase", Platform(redis_url, database_url, {})) as ctx:
        await ctx.table.upsert(IDS["coinbase"], [early])
        confirmed = replace(early, rank=Rank.SETTLED, stamp_ms=END_MS + 31_000, origin=Origin.REPAIR)
        assert await store_candles(ctx, [early, confirmed]) == 1

        async def at_rest() -> Rank:
            (held,) = await ctx.table.read(IDS["coinbase"], "BTC-USD", H1, 0, END_MS)
            return held.rank

        assert await at_rest() is Rank.FINAL
        told = await sync_from_cache(Cell(ctx, H1, ["BTC-USD"], END_MS, by_hand=False), 60)
        assert (told.added, told.changed) == (0, 0), "it is news to nobody"
        assert await at_rest() is Rank.SETTLED
