"""Killed at any await, the consumer and the outbox lose nothing, store once and mark what they repeat."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from msgspec.structs import replace

from livermore_dagster.clock import SystemClock
from livermore_dagster.ingest.outbox import Outbox
from livermore_dagster.ingest.signals import SignalsConsumer
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle, canonical
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.indicators import read_indicators
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.metrics import LatencyHistogram
from tests.integration.signals.conftest import BINANCE, PATIENCE_S, Signals, walk
from tests.integration.signals.test_signals import expected

KILLS = 40
OTHER = "another's"


async def _killed(signals: Signals, after_s: float) -> None:
    """A process that lives `after_s`: what it had in memory is gone with it."""
    outbox = Outbox(signals.redis, signals.pool, BINANCE)
    consumer = SignalsConsumer(signals.redis, signals.pool, BINANCE, outbox=outbox, block_ms=20, batch=40)
    stop = asyncio.Event()
    tasks = [asyncio.create_task(consumer.run(stop)), asyncio.create_task(outbox.run(stop))]
    await asyncio.wait(tasks, timeout=after_s)
    stop.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_kills_between_any_two_steps_change_nothing(signals: Signals) -> None:
    candles = walk(900, seed=8)
    pubsub = signals.redis.pubsub()
    await pubsub.subscribe(keys.channel_alerts(signals.row.id))
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300:301])
        await signals.settle()
    draw = random.Random(1)
    fed = 301
    received: list[tuple[int, int]] = []
    told_again: list[int] = []
    for _ in range(KILLS):
        noted = {one.alert.id for one in await signals.alerts() if one.published_ms is not None}
        upto = min(len(candles), fed + 15)
        await signals.close(candles[fed:upto])
        fed = upto
        await _killed(signals, draw.uniform(0.002, 0.06))
        heard = [(body["id"], body["attempt"]) for body in await signals.heard(pubsub)]
        told_again += [alert_id for alert_id, _ in heard if alert_id in noted]
        received += heard
    async with signals.running():
        await signals.close(candles[fed:])
        await signals.settle()
    wanted = expected(candles, candles[300].open_ms)
    assert sorted(await signals.labels(standing=False)) == wanted
    received += [(body["id"], body["attempt"]) for body in await signals.heard(pubsub)]
    assert {alert_id for alert_id, _ in received} == {one.alert.id for one in await signals.alerts()}
    assert max(Counter(received).values()) == 1, "a repetition carries another attempt"
    assert told_again == [], "what was noted as published"
    async with signals.pool.connection() as connection:
        rows = await read_indicators(connection, signals.row.id, "AAAUSDT", Timeframe.M5)
    assert rows[-1].n_eff == 900
    assert [row.n_eff for row in rows[-599:]] == list(range(302, 901))
    await pubsub.aclose()


@pytest.mark.parametrize("judged_before", [False, True])
async def test_what_a_crashed_round_stored_is_taken_back_where_its_candle_was_revised_meanwhile(
    signals: Signals, *, judged_before: bool
) -> None:
    """Its closes come again, but what they read of the cache is another by then."""
    candles = walk(600, seed=1)
    standing = expected(candles, candles[300].open_ms)
    at = next(i for i, c in enumerate(candles) if (c.open_ms, "level_-150") in standing)
    cross = candles[at]
    flat = replace(cross, high="200", close=canonical(f"{float(cross.open) * 1.03:.6f}"))
    wanted = expected([*candles[:at], flat, candles[at + 1]], candles[300].open_ms)

    async def revise(candle: Candle, after_ms: int) -> None:
        stamp = cross.open_ms + after_ms
        one = StampedCandle(
            "AAAUSDT", Timeframe.M5, candle, Rank.SETTLED, stamp, Origin.REPAIR, proven_ms=stamp
        )
        await signals.cache.write([one], SystemClock().now_ms())

    async def crash() -> None:
        """The alerts are stored, what was computed is not kept: another holds the claim by then."""
        ended = SignalsConsumer(signals.redis, signals.pool, BINANCE, block_ms=20, token=OTHER)
        await asyncio.wait_for(ended.run(asyncio.Event()), PATIENCE_S)
        assert (cross.open_ms, "level_-150") in await signals.labels()

    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300:at])
        if judged_before:
            await signals.close([flat, candles[at + 1]])
        await signals.settle()
    if judged_before:
        await revise(cross, 900_000)
    else:
        # The first is folded with the candle that the cache has before it.
        await signals.close(candles[at + 1 : at + 2])
        await signals.close(candles[at : at + 1])
    await crash()
    await revise(flat, 1_200_000)
    async with signals.running():
        await signals.settle()
    assert sorted(await signals.labels()) == wanted


@pytest.mark.parametrize("known", ["history", "nothing", "a former life", "the next one"])
async def test_so_is_what_a_crashed_round_stored_of_the_first_bar_ever_judged(
    signals: Signals, known: str
) -> None:
    """Of the series there is only history, nothing, or old alerts, of bars that are history by now; or the
    first is folded with the next one's close, from the cache."""
    candles = walk(600, seed=1)
    standing = expected(candles, candles[300].open_ms)
    at = next(i for i, c in enumerate(candles) if i > 350 and (c.open_ms, "level_-150") in standing)
    flat = replace(candles[at], high="200", close=canonical(f"{float(candles[at].open) * 1.03:.6f}"))
    seen = [*candles[:at], flat, candles[at + 1]]
    wanted = expected(seen, flat.open_ms)
    if known == "a former life":
        async with signals.running():
            await signals.close(candles[:300], origin=Origin.WARMUP)
            await signals.close(candles[300:at])
            await signals.settle()
        former = await signals.labels()
        assert former
        wanted = sorted([*former, *wanted])
        await signals.redis.delete(
            *await signals.redis.keys("indicator:*"), *await signals.redis.keys("candles:*")
        )
    await signals.close(candles[:at], origin=Origin.WARMUP)
    if known in ("history", "the next one"):
        async with signals.running():
            await signals.settle()
    if known == "the next one":
        await signals.warm(flat.open_ms + 1_000)
        await signals.close(candles[at + 1 : at + 2])
    await signals.close(candles[at : at + 1])
    ended = SignalsConsumer(signals.redis, signals.pool, BINANCE, block_ms=20, token=OTHER)
    await asyncio.wait_for(ended.run(asyncio.Event()), PATIENCE_S)
    assert (flat.open_ms, "level_-150") in await signals.labels()
    stamp = flat.open_ms + 1_200_000
    revised = StampedCandle(
        "AAAUSDT", Timeframe.M5, flat, Rank.SETTLED, stamp, Origin.REPAIR, proven_ms=stamp
    )
    await signals.cache.write([revised], SystemClock().now_ms())
    await signals.close(candles[at + 1 : at + 2])
    async with signals.running():
        await signals.settle()
    assert sorted(await signals.labels()) == wanted


async def test_an_alert_is_published_within_milliseconds_of_its_close(signals: Signals) -> None:
    candles = walk(900, seed=9)
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.settle()
        for candle in candles[300:]:
            await signals.close([candle])
            await signals.settle()
    found = await LatencyHistogram("close_to_alert").read(signals.redis)
    assert found.n >= 10
    # The target is 4 ms on an idle machine; here only that none waits for the outbox's look every 5 s.
    assert found.p50 < 1_000


async def test_many_series_closing_at_once_are_taken_in_a_few_round_trips(signals: Signals) -> None:
    candles = walk(302, seed=2)
    symbols = [f"S{index:03d}USDT" for index in range(100)]
    async with signals.running():
        for symbol in symbols:
            await signals.close(candles[:300], symbol, origin=Origin.WARMUP)
            await signals.close(candles[300:301], symbol)
        await signals.settle()
        for symbol in symbols:
            await signals.close(candles[301:302], symbol)
        await signals.settle()
    async with signals.pool.connection() as connection:
        cursor = await connection.execute("SELECT count(DISTINCT symbol) FROM indicators WHERE n_eff = 302")
        assert await cursor.fetchone() == (100,)
