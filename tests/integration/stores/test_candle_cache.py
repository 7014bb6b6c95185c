"""The write rule on a real Valkey, against a naive model."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import redis
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CACHE_SIZE, CandleCache, WriteResult
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.closes import read_closes
from livermore_dagster.stores.redis.metrics import read_counters
from tests.integration.stores.rule_model import SERIES, T0, Model, candles


def forget_proof(stamped: StampedCandle) -> StampedCandle:
    """The cache keeps no proven_ms; closes do."""
    return replace(stamped, proven_ms=0)


def minute(bar: int, rank: Rank = Rank.FINAL, close: str = "1", **changes: object) -> StampedCandle:
    candle = Candle(T0 + bar * 60_000, "1", "2", "0.5", close, "3")
    stamped = StampedCandle("BTCUSDT", Timeframe.M1, candle, rank, T0 + bar * 60_000 + 60_001, Origin.LIVE)
    return replace(stamped, **changes)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(candles(), min_size=1, max_size=12), min_size=1, max_size=6))
def test_any_writes_in_any_order_do_what_the_rule_says(
    valkey_url: str, batches: list[list[StampedCandle]]
) -> None:
    async def scenario() -> None:
        client = connect_async(valkey_url)
        await client.flushall()
        cache = CandleCache(client, 2, exchange_name="binance", size=4)
        model = Model(size=4)
        for batch in batches:
            assert await cache.write(batch, 5) == [model.write(stamped) for stamped in batch]
        for symbol, timeframe in SERIES:
            expected = [forget_proof(stamped) for stamped in model.content(symbol, timeframe)]
            assert await cache.read(symbol, timeframe, final_only=False) == expected
            assert await cache.read(symbol, timeframe) == [one for one in expected if one.rank > Rank.OPEN]
        closes = await read_closes(client, 2)
        assert [(close.stamped(), close.revision) for close in closes] == model.closes
        expected_counts = Counter[str]()
        for stamped, revision in model.closes:
            expected_counts["closes"] += 1
            expected_counts["revised" if revision else f"candles:{stamped.timeframe}"] += 1
        assert await read_counters(client, 2) == expected_counts
        await client.aclose()

    asyncio.run(scenario())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), batch=st.lists(candles(), min_size=2, max_size=10))
def test_what_is_left_does_not_depend_on_the_order(
    valkey_url: str, data: st.DataObject, batch: list[StampedCandle]
) -> None:
    # Two candles that stand exactly alike but differ have no better one: the first stays.
    batch = list({(one.symbol, one.timeframe, one.candle.open_ms, one.rank, one.stamp_ms, one.trades): one
                  for one in batch}.values())  # fmt: skip
    shuffled = data.draw(st.permutations(batch))

    async def left(order: list[StampedCandle]) -> list[list[StampedCandle]]:
        client = connect_async(valkey_url)
        await client.flushall()
        cache = CandleCache(client, 2)
        await cache.write(order, 5)
        found = [await cache.read(symbol, timeframe, final_only=False) for symbol, timeframe in SERIES]
        await client.aclose()
        return found

    assert asyncio.run(left(batch)) == asyncio.run(left(shuffled))


async def test_a_close_is_appended_once_however_often_it_is_written(client: redis.asyncio.Redis) -> None:
    cache = CandleCache(client, 2)
    await asyncio.gather(*(cache.write([minute(bar) for bar in range(50)], 5) for _ in range(8)))
    closes = await read_closes(client, 2)
    assert [close.candle.open_ms for close in closes] == [T0 + bar * 60_000 for bar in range(50)]


async def test_the_newest_thousand_are_kept_and_older_ones_belong_elsewhere(
    client: redis.asyncio.Redis,
) -> None:
    cache = CandleCache(client, 2)
    await cache.write([minute(bar) for bar in range(10, CACHE_SIZE + 20)], 5)
    held = await cache.read("BTCUSDT", Timeframe.M1)
    assert len(held) == CACHE_SIZE
    assert held[0].candle.open_ms == T0 + 20 * 60_000
    before = len(await read_closes(client, 2, count=5_000))
    assert await cache.write([minute(5)], 5) == [WriteResult.OLDER]
    assert await cache.read("BTCUSDT", Timeframe.M1) == held
    assert len(await read_closes(client, 2, count=5_000)) == before


async def test_reads_end_where_they_are_told(client: redis.asyncio.Redis) -> None:
    cache = CandleCache(client, 2)
    await cache.write([minute(0), minute(1), minute(2), minute(3, Rank.OPEN)], 5)
    opens = [one.candle.open_ms for one in await cache.read("BTCUSDT", Timeframe.M1, 2)]
    assert opens == [T0 + 60_000, T0 + 120_000]
    until = await cache.read("BTCUSDT", Timeframe.M1, 2, until_ms=T0 + 60_000)
    assert [one.candle.open_ms for one in until] == [T0]
    newest = await cache.read_many(["BTCUSDT", "NONE"], Timeframe.M1, 1)
    assert {symbol: [one.candle.open_ms for one in held] for symbol, held in newest.items()} == {
        "BTCUSDT": [T0 + 120_000], "NONE": [],
    }  # fmt: skip
    assert await cache.read("NONE", Timeframe.M1) == []


async def test_final_candles_are_found_behind_many_unproven_ones(client: redis.asyncio.Redis) -> None:
    cache = CandleCache(client, 2)
    await cache.write([minute(0), minute(1), *(minute(bar, Rank.OPEN) for bar in range(2, 30))], 5)
    assert [one.candle.open_ms for one in await cache.read("BTCUSDT", Timeframe.M1, 1)] == [T0 + 60_000]
    assert len(await cache.read("BTCUSDT", Timeframe.M1, 5)) == 2
    assert len(await cache.read("BTCUSDT", Timeframe.M1, 5, final_only=False)) == 5
    assert await cache.read("BTCUSDT", Timeframe.M1, 0) == []


async def test_closes_are_published_with_their_source_unless_they_are_history(
    client: redis.asyncio.Redis,
) -> None:
    cache = CandleCache(client, 2, exchange_name="binance")
    async with client.pubsub() as listener:
        await listener.psubscribe("channel:exchange:*")
        await listener.get_message(timeout=60)
        history = [minute(bar, origin=origin) for bar, origin in enumerate(Origin) if origin.is_history]
        await cache.write([*history, minute(9, Rank.OPEN), minute(10)], 5)
        message = await listener.get_message(timeout=60)
        rest = await listener.get_message(timeout=0.2)
    assert message is not None
    assert message["channel"] == keys.channel_close(2, "BTCUSDT", Timeframe.M1)
    assert json.loads(message["data"]) == {
        "exchange_id": 2, "exchange": "binance", "symbol": "BTCUSDT", "timeframe": "1m",
        "open_ms": T0 + 600_000, "end_ms": T0 + 660_000, "open": "1", "high": "2", "low": "0.5", "close": "1",
        "volume": "3", "settled": False, "revision": False,
    }  # fmt: skip
    assert rest is None


async def test_the_script_is_loaded_again_after_the_server_forgot_it(client: redis.asyncio.Redis) -> None:
    cache = CandleCache(client, 2)
    await cache.write([minute(0)], 5)
    await client.script_flush()
    assert await cache.write([minute(1)], 5) == [WriteResult.INSERTED]


async def test_a_candle_takes_at_most_120_bytes(client: redis.asyncio.Redis) -> None:
    cache = CandleCache(client, 2)
    series = [
        replace(
            minute(bar),
            candle=Candle(
                T0 + bar * 60_000, "67123.45", "67190.01", "67100.12", "67155.98", f"{12 + bar % 90}.48213"
            ),
            trades=1_234,
        )
        for bar in range(CACHE_SIZE)
    ]
    await cache.write(series, 5)
    size = await client.memory_usage(keys.candles(2, "BTCUSDT", Timeframe.M1), samples=0)
    assert size is not None
    assert size / CACHE_SIZE <= 120


async def test_of_a_symbol_that_is_gone_nothing_is_kept_until_it_is_welcome_again(
    client: redis.asyncio.Redis,
) -> None:
    cache = CandleCache(client, 2)
    await cache.write([minute(0)], 5)
    await cache.dismiss(["BTCUSDT"])
    other = minute(1, symbol="ETHUSDT")
    late = [minute(1), other, minute(0, Rank.SETTLED, "9"), minute(2, Rank.OPEN)]
    older, inserted = WriteResult.OLDER, WriteResult.INSERTED
    assert await cache.write(late, 5) == [older, inserted, older, older]
    await client.unlink(*await cache.names(["BTCUSDT"], Timeframe))
    assert await cache.write([minute(3)], 5) == [older]
    assert await cache.read("BTCUSDT", Timeframe.M1) == []
    assert [close.stamped().symbol for close in await read_closes(client, 2)] == ["BTCUSDT", "ETHUSDT"]
    await cache.welcome(["BTCUSDT"])
    assert await cache.write([minute(3)], 5) == [inserted]
