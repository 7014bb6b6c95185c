"""Users who command, and what an instance under test needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import redis.asyncio

from livermore_dagster.control.claim import Claim
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.postgres.users import User, insert_user
from livermore_dagster.stores.redis.client import connect, connect_async

from .commanded import EXCHANGE, EXCHANGE_ID


@pytest.fixture
async def database(database_url: str) -> str:
    """With an admin, a user without accounts, and one who has binance."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await upsert_rows(connection, ROWS)
        for sub, role in (("root", "admin"), ("eve", "user"), ("ana", "user")):
            user_id = await insert_user(connection, User(0, "local", sub, "", sub, None, role))
            if sub == "ana":
                await connection.execute(
                    "INSERT INTO user_exchanges (user_id, exchange_id) VALUES (%s, %s)",
                    (user_id, EXCHANGE_ID),
                )
    return database_url


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = connect_async(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def gate() -> asyncio.Event:
    opened = asyncio.Event()
    opened.set()
    return opened


@pytest.fixture
def claim(redis_url: str) -> Iterator[Claim]:
    with connect(redis_url) as client:
        held = Claim(client, EXCHANGE_ID, EXCHANGE)
        held.acquire(0.0)
        yield held
        held.release()
