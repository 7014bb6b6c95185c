"""Users' own candle keys on a real Valkey: the write rule there, and changes of tier without a hole (X3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import USER_KEYS_LIVE_S, CandleCache
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.closes import read_closes
from tests.integration.stores.rule_model import SERIES, T0, Model, candles
from tests.integration.stores.test_candle_cache import forget_proof

M1 = Timeframe.M1
SYMBOLS = sorted({symbol for symbol, _ in SERIES})
OWNERS = st.dictionaries(st.sampled_from(SYMBOLS), st.lists(st.integers(1, 3), unique=True).map(sorted))


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = connect_async(redis_url)
    yield client
    await client.aclose()


def minute(bar: int) -> StampedCandle:
    open_ms = T0 + bar * M1.ms
    return StampedCandle(
        "BTCUSDT", M1, Candle(open_ms, "1", "2", "0.5", "1", "3"), Rank.FINAL, open_ms + M1.ms, Origin.LIVE
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(candles(), min_size=1, max_size=8) | OWNERS, min_size=1, max_size=10))
def test_wherever_candles_live_the_write_rule_and_the_closes_are_the_same(
    valkey_url: str, steps: list[list[StampedCandle] | dict[str, list[int]]]
) -> None:
    async def scenario() -> None:
        client = connect_async(valkey_url)
        await client.flushall()
        cache, reader = (CandleCache(client, 2, size=4) for _ in range(2))
        model = Model(size=4)
        owners: dict[str, list[int]] = {}
        for step in steps:
            if isinstance(step, dict):
                await cache.place(step)
                owners = {symbol: ids for symbol, ids in step.items() if ids}
            else:
                assert await cache.write(step, 5) == [model.write(stamped) for stamped in step]
            for symbol, timeframe in SERIES:
                expected = [forget_proof(stamped) for stamped in model.content(symbol, timeframe)]
                assert await reader.read(symbol, timeframe, final_only=False) == expected
        closes = await read_closes(client, 2)
        assert [(close.stamped(), close.revision) for close in closes] == model.closes
        await in_place(client, model, owners)
        await client.aclose()

    asyncio.run(scenario())


async def in_place(client: redis.asyncio.Redis, model: Model, owners: dict[str, list[int]]) -> None:
    """Candles lie exactly where they should, alike for each owner; users' keys end, shared ones do not."""
    wanted: dict[str, list[str]] = {}
    for symbol, timeframe in SERIES:
        if model.content(symbol, timeframe):
            shared = keys.candles(2, symbol, timeframe)
            own = [keys.user_candles(one, 2, symbol, timeframe) for one in owners.get(symbol, [])]
            wanted[shared] = own or [shared]
    found = [key async for key in client.scan_iter("*candles:*", count=100)]
    assert sorted(found) == sorted(key for places in wanted.values() for key in places)
    for places in wanted.values():
        contents = [await client.zrange(key, 0, -1, withscores=True) for key in places]
        assert all(content == contents[0] for content in contents)
        for key in places:
            life = await client.ttl(key)
            assert (0 < life <= USER_KEYS_LIVE_S) if key.startswith("user") else life == -1
    assert await client.hgetall(keys.candle_owners(2)) == {
        symbol: ",".join(map(str, ids)) for symbol, ids in owners.items()
    }


async def test_a_reader_never_sees_a_hole_while_a_symbol_changes_tiers(redis_url: str, client) -> None:
    other = connect_async(redis_url)
    cache, reader = CandleCache(client, 2), CandleCache(other, 2)
    await cache.write([minute(bar) for bar in range(300)], 5)
    reads, moves = 0, 0

    async def move() -> None:
        nonlocal moves
        while reads < 40 or moves < 40:
            moves += 1
            await cache.place({"BTCUSDT": [[], [7], [3, 7], [3]][moves % 4]})

    async def read() -> None:
        nonlocal reads
        while reads < 40 or moves < 40:
            assert len(await reader.read("BTCUSDT", M1, 300)) == 300
            reads += 1

    await asyncio.gather(move(), read())
    assert len(await read_closes(other, 2, count=1_000)) == 300, "moving raises no close"
    await other.aclose()


async def test_what_a_users_key_still_held_joins_the_series_under_the_rule(client) -> None:
    cache = CandleCache(client, 2)
    await cache.place({"BTCUSDT": [7]})
    await cache.write([minute(bar) for bar in range(3)], 5)
    left = await client.zrange(keys.user_candles(7, 2, "BTCUSDT", M1), 0, 0)
    await cache.place({})
    await client.delete(keys.candles(2, "BTCUSDT", M1))
    await cache.write([minute(bar) for bar in range(2, 5)], 5)
    await client.zadd(keys.user_candles(7, 2, "BTCUSDT", M1), {left[0]: T0})
    await cache.place({"BTCUSDT": [7]})
    opens = [(one.candle.open_ms - T0) // M1.ms for one in await cache.read("BTCUSDT", M1)]
    assert opens == [0, 2, 3, 4]


async def test_keys_are_named_and_kept_alive_wherever_they_are(client) -> None:
    cache = CandleCache(client, 2)
    await cache.place({"BTCUSDT": [3, 7]})
    await cache.write([minute(0)], 5)
    names = await cache.names(["BTCUSDT", "ETHUSDT"], [M1])
    assert sorted(names) == [
        "candles:2:BTCUSDT:1m",
        "candles:2:ETHUSDT:1m",
        "usercandles:3:2:BTCUSDT:1m",
        "usercandles:7:2:BTCUSDT:1m",
    ]
    await client.expire("usercandles:7:2:BTCUSDT:1m", 10)
    await cache.keep_owned()
    assert await client.ttl("usercandles:7:2:BTCUSDT:1m") > USER_KEYS_LIVE_S - 60
