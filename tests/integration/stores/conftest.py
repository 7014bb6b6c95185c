"""Clients on the test servers, and one exchange's row, for the stores' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest
import redis.asyncio

from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres import exchanges
from livermore_dagster.stores.postgres.connect import Pool, open_pool
from livermore_dagster.stores.redis.client import connect_async

EXCHANGE = ExchangeRow(
    id=2,
    name="binance",
    display_name="Binance",
    rest_url="https://rest.example",
    ws_url="wss://ws.example",
    timeframes=(Timeframe.M1, Timeframe.M5),
    streamed_timeframes=(Timeframe.M1,),
    quote_currencies=("USDT",),
    api_limits={"weight": 6000},
    fee_schedule={},
    geo_restrictions={},
    active=True,
)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = connect_async(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a database that knows exchange 2."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await exchanges.upsert_rows(connection, [EXCHANGE])
    pool = await open_pool(database_url, None)
    yield pool
    await pool.close()
