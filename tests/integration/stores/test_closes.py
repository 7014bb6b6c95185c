"""The write-ahead log: order, acknowledgement, trimming."""

from __future__ import annotations

import redis
import redis.asyncio

from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.closes import (
    ClosesReader,
    _since_taken,
    backlog,
    read_closes,
    standing_sync,
    trim_closes,
)
from tests.integration.stores.test_candle_cache import minute


async def readers(client: redis.asyncio.Redis) -> tuple[ClosesReader, ClosesReader]:
    signals = ClosesReader(client, 2, keys.CLOSES_GROUP_SIGNALS)
    store = ClosesReader(client, 2, keys.CLOSES_GROUP_STORE)
    for reader in (signals, store):
        await reader.ensure_group()
        await reader.ensure_group()
    return signals, store


async def test_what_was_not_acknowledged_comes_back_in_order(client: redis.asyncio.Redis) -> None:
    signals, _ = await readers(client)
    await CandleCache(client, 2).write([minute(bar) for bar in range(6)], 5)
    first = await signals.fresh(4, 0)
    await signals.ack([first[1].entry_id])
    # A new process: the same constant consumer name.
    again = ClosesReader(client, 2, keys.CLOSES_GROUP_SIGNALS)
    pending = await again.pending(10)
    assert [close.entry_id for close in pending] == [first[0].entry_id, first[2].entry_id, first[3].entry_id]
    assert [close.candle.open_ms for close in await again.fresh(10, 0)] == [
        minute(4).candle.open_ms,
        minute(5).candle.open_ms,
    ]
    assert await again.fresh(10, 1) == []


async def test_a_group_made_late_sees_everything_from_the_beginning(client: redis.asyncio.Redis) -> None:
    await CandleCache(client, 2).write([minute(0), minute(1)], 5)
    _, store = await readers(client)
    assert len(await store.fresh(10, 0)) == 2


async def test_only_what_both_groups_acknowledged_is_trimmed(client: redis.asyncio.Redis) -> None:
    await CandleCache(client, 2).write([minute(bar) for bar in range(10)], 5)
    assert await trim_closes(client, 2) == 0
    store = ClosesReader(client, 2, keys.CLOSES_GROUP_STORE)
    await store.ensure_group()
    await store.ack(close.entry_id for close in await store.fresh(10, 0))
    assert await trim_closes(client, 2) == 0, "the group of signals does not exist yet"
    signals = ClosesReader(client, 2, keys.CLOSES_GROUP_SIGNALS)
    await signals.ensure_group()
    assert await trim_closes(client, 2) == 0
    seen = await signals.fresh(6, 0)
    await signals.ack([close.entry_id for close in seen if close is not seen[3]])
    assert await trim_closes(client, 2) == 3
    await signals.ack([seen[3].entry_id])
    assert await trim_closes(client, 2) == 3
    assert [close.candle.open_ms for close in await read_closes(client, 2)] == [
        minute(bar).candle.open_ms for bar in range(6, 10)
    ]
    await signals.ack(close.entry_id for close in await signals.fresh(10, 0))
    assert await trim_closes(client, 2) == 4
    await CandleCache(client, 2).write([minute(20)], 5)
    assert len(await signals.fresh(10, 0)) == len(await store.fresh(10, 0)) == 1


async def test_the_backlog_counts_what_is_not_acknowledged(client: redis.asyncio.Redis) -> None:
    assert (await backlog(client, 2)).unacknowledged == {"signals": 0, "store": 0}
    await CandleCache(client, 2).write([minute(bar) for bar in range(10)], 5)
    signals, store = await readers(client)
    await store.ack(close.entry_id for close in await store.fresh(10, 0))
    await signals.fresh(4, 0)
    found = await backlog(client, 2, cap=10)
    assert found.unacknowledged == {"signals": 10, "store": 0}
    assert found.over_cap
    await signals.ack(close.entry_id for close in await signals.pending(1))
    assert not (await backlog(client, 2, cap=10)).over_cap


async def test_entries_that_were_removed_by_hand_do_not_block_a_reader(client: redis.asyncio.Redis) -> None:
    signals, _ = await readers(client)
    await CandleCache(client, 2).write([minute(bar) for bar in range(3)], 5)
    seen = await signals.fresh(3, 0)
    await client.xdel(keys.closes(2), seen[0].entry_id)
    assert [close.entry_id for close in await signals.pending(1)] == [seen[1].entry_id]


def server_ms(client: redis.Redis) -> int:
    seconds, microseconds = client.time()
    return seconds * 1000 + microseconds // 1000


async def test_a_group_stands_for_as_long_as_closes_wait_and_none_is_taken(
    client: redis.asyncio.Redis, redis_url: str
) -> None:
    with connect(redis_url) as sync:
        assert standing_sync(sync, 2, server_ms(sync)) == {"signals": 0, "store": 0}, "there is no stream"
        begun_ms = server_ms(sync)
        await CandleCache(client, 2).write([minute(0)], 5)
        later = begun_ms + 90_000
        assert min(standing_sync(sync, 2, later).values()) > 60_000, "there are no groups"
        signals, store = await readers(client)
        assert min(standing_sync(sync, 2, later).values()) > 60_000, "nobody has taken it"
        taken = await store.fresh(1, 0)
        taken_ms = server_ms(sync)
        assert standing_sync(sync, 2, later)["store"] < 10_000, "it was taken just now, old as it is"
        while server_ms(sync) < taken_ms + 40:
            assert await store.pending(1) == taken
        assert standing_sync(sync, 2, later)["store"] >= 20, "reading the same again is no progress"
        await store.ack(close.entry_id for close in taken)
        found = standing_sync(sync, 2, later)
        assert (found["store"], found["signals"] > 60_000) == (0, True)
        await signals.ack(close.entry_id for close in await signals.fresh(1, 0))
        assert standing_sync(sync, 2, later) == {"signals": 0, "store": 0}


async def test_before_redis_7_2_a_consumers_idle_time_tells_when_it_took_something(
    client: redis.asyncio.Redis,
) -> None:
    """Such a server's answer is a newer one's without `inactive`."""
    _, store = await readers(client)
    await CandleCache(client, 2).write([minute(0)], 5)
    await store.fresh(1, 0)
    (consumer,) = await client.xinfo_consumers(keys.closes(2), keys.CLOSES_GROUP_STORE)
    del consumer["inactive"]
    assert _since_taken([{**consumer, "idle": 1_234}]) == [1_234]
    assert _since_taken([{**consumer, "idle": 3, "inactive": 1_234}]) == [1_234]
    assert _since_taken([{**consumer, "idle": 3, "inactive": -1}]) == []
