"""What is streamed, monitored and listed is one list, each symbol once, in every way of starting (X3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from livermore_dagster.accounts import settings
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.symbols import refresh_products
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.desired import (
    Desired,
    SymbolChoice,
    write_desired_sync,
)
from livermore_dagster.stores.redis.metrics import read_incidents
from tests.integration.ingest.agreeing import EXCHANGE, agree, by_the_stores, ranked, running, set_symbols
from tests.integration.ingest.commanding import done
from tests.integration.ingest.played import IDS, Platform, played, until

START_MS = 1_767_655_800_000
USERS = ("ana", "bo", "cy", "di", "ed")


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
        until(lambda: cached(market, names[20]), 90, "the added symbol is warmed")
        until(lambda: not warming(market), 90, "what is warm is said to be")
        second = [one.symbol for one in asyncio.run(by_the_stores(market)).symbols if one.tier > 1]
        assert names[20] in owned(market)
        # One that is still to be listed has no candles anywhere.
        assert owned(market) == {symbol for symbol in second if cached(market, symbol)}
        gone = set(first) - set(changed)
        assert gone, "what only ed wanted has gone"
        until(lambda: not any(cached(market, symbol) for symbol in gone), 60, "their candles are cleaned")
    with running(market, Desired("running", SymbolChoice(top=6), "bo")):
        assert agree(market) == changed, "a restart monitors the same"
    asyncio.run(set_top(market, "bo", 3))
    with running(market, Desired("running", user="bo")):
        smaller = agree(market)
        assert len(smaller) < len(changed)
        assert [one.rank for one in asyncio.run(by_the_stores(market)).symbols][:3] == [1, 2, 3]
        # Whoever starts it now, his top N is monitored: by a command, or by what is wanted.
        many = done(market, "start", sub="ana")["symbols"]
        assert len(agree(market)) == many > len(smaller)
        with market.redis() as client:
            write_desired_sync(client, IDS[EXCHANGE], Desired("running", user="bo"))
        assert agree(market) == smaller


def cached(platform: Platform, symbol: str) -> bool:
    """Whether candles of it are in Redis, shared or some user's."""
    with platform.redis() as client:
        return bool(client.keys(f"*candles:*{IDS[EXCHANGE]}:{symbol}:1m"))


def warming(platform: Platform) -> set[str]:
    with platform.redis() as client:
        return client.smembers(keys.warming(IDS[EXCHANGE]))


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
            httpx.post(door, json=event, timeout=30).raise_for_status()
        at = max(one["at_ms"] for one in market.ask(EXCHANGE, "market"))
        until(lambda: market.market_now(EXCHANGE) > at, 120, "the events' minute")

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
