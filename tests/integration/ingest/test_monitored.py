"""What is streamed, monitored and listed is one list, each symbol once, in every way of starting (X3)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest

from livermore_dagster.accounts import settings
from livermore_dagster.accounts.monitored import MonitoredList
from livermore_dagster.accounts.users import add_user
from livermore_dagster.accounts.wishes import load_monitored
from livermore_dagster.control.states import InstanceState
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.ingest.symbols import refresh_products
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.exchanges import load_exchange
from livermore_dagster.stores.postgres.users import User
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.desired import (
    Desired,
    SymbolChoice,
    read_desired_sync,
    write_desired_sync,
)
from livermore_dagster.stores.redis.metrics import read_incidents
from tests.integration.ingest.played import IDS, Platform, played, until

START_MS = 1_767_655_800_000
EXCHANGE = "binance"
USERS = ("ana", "bo", "cy", "di", "ed")


def ranked(platform: Platform) -> list[str]:
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
        return await load_monitored(connection, await load_exchange(connection, EXCHANGE), desired)


def streamed(platform: Platform) -> Counter[str]:
    """Symbol → connections that carry its 1m candles now."""
    return Counter(
        stream.partition("@")[0].upper()
        for connection in platform.ask(EXCHANGE, "connections")
        for stream in connection["streams"]
        if stream.endswith("@kline_1m")
    )


def agree(platform: Platform, seconds: float = 40) -> list[str]:
    """Waits until stream, instance and list are one and the same; that list."""

    def same() -> bool:
        wanted = asyncio.run(by_the_stores(platform)).ids
        return streamed(platform) == Counter(wanted) and platform.symbols(EXCHANGE) == wanted

    def words() -> str:
        wanted, now = asyncio.run(by_the_stores(platform)).ids, streamed(platform)
        twice = [symbol for symbol, count in now.items() if count > 1]
        return f"listed {wanted}, streamed {sorted(now)}, twice {twice}, told {platform.symbols(EXCHANGE)}"

    until(same, seconds, words)
    return platform.symbols(EXCHANGE)


@contextmanager
def running(platform: Platform, desired: Desired, seconds: float = 90) -> Iterator[IngestService]:
    with platform.redis() as client:
        write_desired_sync(client, IDS[EXCHANGE], desired)
    service = IngestService(platform, EXCHANGE, provenance=platform.provenance)
    service.start()
    try:
        assert service.wait_for_state(InstanceState.ACTIVE, seconds), service.error
        yield service
    finally:
        assert service.stop(10)
    assert service.error is None


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, [EXCHANGE], 10.0, START_MS, symbols=30) as platform:
        yield platform


def test_five_users_and_the_most_traded_are_streamed_once_each_and_changes_are_followed(
    market: Platform,
) -> None:
    names = ranked(market)
    wanted = {sub: names[4 + place : 12 + place] for place, sub in enumerate(USERS)}
    asyncio.run(set_symbols(market, wanted))
    with running(market, Desired("running", SymbolChoice(top=6), "ana")):
        first = agree(market)
        assert len(first) == len(set(first)) > 12
        asyncio.run(set_symbols(market, {"ed": [names[20]], "cy": []}))
        changed = agree(market)
        assert names[20] in changed
        until(lambda: cached(market, names[20]), 30, "the added symbol is warmed")
        second = [one.symbol for one in asyncio.run(by_the_stores(market)).symbols if one.tier > 1]
        assert names[20] in owned(market)
        # One that is still to be listed has no candles anywhere.
        assert owned(market) == {symbol for symbol in second if cached(market, symbol)}
        gone = set(first) - set(changed)
        assert gone, "what only ed wanted has gone"
        until(lambda: not any(cached(market, symbol) for symbol in gone), 10, "their candles are cleaned")
    with running(market, Desired("running", SymbolChoice(top=6), "bo")):
        assert agree(market) == changed, "a restart monitors the same"
    asyncio.run(set_top(market, "bo", 3))
    with running(market, Desired("running", user="bo")):
        smaller = agree(market)
        assert len(smaller) < len(changed)
        assert [one.rank for one in asyncio.run(by_the_stores(market)).symbols][:3] == [1, 2, 3]


def cached(platform: Platform, symbol: str) -> bool:
    """Whether candles of it are in Redis, shared or some user's."""
    with platform.redis() as client:
        return bool(client.keys(f"*candles:*{IDS[EXCHANGE]}:{symbol}:1m"))


def owned(platform: Platform) -> set[str]:
    """Symbols with 1m candles in users' keys."""
    with platform.redis() as client:
        return {key.split(":")[3] for key in client.keys(f"usercandles:*:{IDS[EXCHANGE]}:*:1m")}


async def set_top(platform: Platform, sub: str, top: int) -> None:
    client = connect_async(platform.redis_url)
    async with await psycopg.AsyncConnection.connect(platform.database_url) as connection:
        await settings.patch(connection, client, sub, "scanner.top_n", top, by="test")
    await client.aclose()


def test_listed_halted_and_delisted_symbols_change_a_running_instance(market: Platform) -> None:
    names = ranked(market)
    asyncio.run(set_symbols(market, {"ana": [names[12]]}))
    with running(market, Desired("running", SymbolChoice(top=5), "ana")):
        before = agree(market)
        door = f"{market.addresses[EXCHANGE]['control_url']}/market"
        for event in (
            {"event": "listing", "base": "FRESH", "quote_volume": 9e9},
            {"event": "delisting", "symbol": before[1]},
            {"event": "halt", "symbol": names[12], "minutes": 600},
        ):
            httpx.post(door, json=event, timeout=10).raise_for_status()
        at = max(one["at_ms"] for one in market.ask(EXCHANGE, "market"))
        until(lambda: market.market_now(EXCHANGE) > at, 70, "the events' minute")

        async def refresh() -> list[str]:
            async with open_context(EXCHANGE, market) as ctx:
                await refresh_products(ctx)
                told = await read_incidents(ctx.redis)
            return [one.facts["symbol"] for one in told if one.name == "symbol_gone"]

        assert sorted(asyncio.run(refresh())) == sorted([before[1], names[12]])
        after = agree(market)
        assert after[0] == "FRESHUSDT"
        assert before[1] not in after
        assert names[12] not in after
        left = asyncio.run(by_the_stores(market)).left_out
        assert [(one.symbol, one.why.value, one.users) for one in left] == [(names[12], "halted", ("ana",))]


@pytest.mark.soak
@pytest.mark.timeout(1_500)
def test_500_symbols_and_60_of_5_users_are_streamed_once_each(redis_url: str, database_url: str) -> None:
    # One timeframe: how many requests a warm-up takes is another test's matter.
    frames = (Timeframe.M1,)
    with played(redis_url, database_url, [EXCHANGE], 1.0, START_MS, symbols=600, timeframes=frames) as market:
        names = ranked(market)
        # Twelve each, six of them the next user's too; some are among the 500 anyway.
        wanted = {sub: names[470 + 12 * place : 488 + 12 * place : 1][:12] for place, sub in enumerate(USERS)}
        wanted = {
            sub: [*symbols[:6], *wanted[USERS[place - 1]][6:]]
            for place, (sub, symbols) in enumerate(wanted.items())
        }
        assert sum(map(len, wanted.values())) == 60
        asyncio.run(set_symbols(market, wanted))
        with running(market, Desired("running", SymbolChoice(top=500), "ana"), 600):
            monitored = agree(market, 120)
            assert len(monitored) > 500
            with market.redis() as client:
                status = json.loads(client.get(keys.status(IDS[EXCHANGE])))
            assert status["symbolCount"] == len(monitored)
            assert market.counters(EXCHANGE).get("http_429", 0) == 0
