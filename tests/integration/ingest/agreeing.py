"""What is streamed, what the instance says and what `livermore symbols list` shows, held together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from livermore_dagster.accounts import settings
from livermore_dagster.accounts.monitored import MonitoredList
from livermore_dagster.accounts.users import add_user
from livermore_dagster.accounts.wishes import load_monitored
from livermore_dagster.control.states import InstanceState
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.stores.postgres.exchanges import load_exchanges
from livermore_dagster.stores.postgres.users import User
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.desired import Desired, read_desired_sync, write_desired_sync
from tests.integration.ingest.played import IDS, Platform, until

EXCHANGE = "binance"


def ranked(platform: Platform) -> list[str]:
    """What its market lists and trades."""
    return [one["symbol"] for one in platform.ask(EXCHANGE, "symbols") if one["kind"] != "untraded"]


async def set_symbols(platform: Platform, wanted: dict[str, list[str]]) -> None:
    """Makes these the users' own symbols; a user who is not there yet is added."""
    client = connect_async(platform.redis_url)
    async with await psycopg.AsyncConnection.connect(platform.database_url) as connection:
        known = {row[0] for row in platform.query("SELECT identity_sub FROM users")}
        for sub, symbols in wanted.items():
            if sub not in known:
                await add_user(connection, User(0, "local", sub, "", sub, None, "admin"))
            value = {EXCHANGE: {symbol: {"enabled": True} for symbol in symbols}}
            await settings.patch(connection, client, sub, "symbols", value, by="test")
    await client.aclose()


async def by_the_stores(platform: Platform) -> MonitoredList:
    """What `livermore symbols list` shows."""
    with platform.redis() as client:
        desired = read_desired_sync(client, IDS[EXCHANGE])
    async with await psycopg.AsyncConnection.connect(platform.database_url) as connection:
        row = row_named(EXCHANGE, await load_exchanges(connection))
        return await load_monitored(connection, row, desired)


def streamed(platform: Platform) -> Counter[str]:
    """Symbol, blank, timeframe → connections that carry these candles now."""
    found = (
        stream.partition("@kline_")
        for connection in platform.ask(EXCHANGE, "connections")
        for stream in connection["streams"]
    )
    return Counter(f"{symbol.upper()} {timeframe}" for symbol, kline, timeframe in found if kline)


def agree(platform: Platform, seconds: float = 60) -> list[str]:
    """Waits until stream, instance and list are one and the same; that list."""
    rows = platform.query("SELECT streamed_timeframes FROM exchanges WHERE name = %s", EXCHANGE)

    def same() -> bool:
        wanted = asyncio.run(by_the_stores(platform)).ids
        once = Counter(f"{symbol} {timeframe}" for symbol in wanted for timeframe in rows[0][0])
        return streamed(platform) == once and platform.symbols(EXCHANGE) == wanted

    def words() -> str:
        wanted, now = asyncio.run(by_the_stores(platform)).ids, streamed(platform)
        twice = [series for series, count in now.items() if count > 1]
        return f"listed {wanted}, streamed {sorted(now)}, twice {twice}, told {platform.symbols(EXCHANGE)}"

    until(same, seconds, words)
    return platform.symbols(EXCHANGE)


@contextmanager
def running(
    platform: Platform, desired: Desired, seconds: float = 180, patience: Patience | None = None
) -> Iterator[IngestService]:
    """An instance that is wanted to be `desired`; it is active, or idle where that is wanted."""
    with platform.redis() as client:
        write_desired_sync(client, IDS[EXCHANGE], desired)
    service = IngestService(platform, EXCHANGE, provenance=platform.provenance, patience=patience)
    service.start()
    try:
        if desired.state == "running":
            assert service.wait_for_state(InstanceState.ACTIVE, seconds), service.error
        yield service
    finally:
        assert service.stop(60)
    assert service.error is None
