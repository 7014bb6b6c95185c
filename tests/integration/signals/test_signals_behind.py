"""Signals still behind the warm-up when the first bars after it close: these are news all the same."""

from __future__ import annotations

import asyncio

import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.ingest.signals import SignalsConsumer
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.indicators import read_indicators
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.metrics import read_counters
from tests.integration.signals.conftest import PATIENCE_S, Signals, walk
from tests.integration.signals.test_signals import M5, expected
from tests.integration.signals.test_signals_crash import OTHER

FIRST = 300
"""The first bar that closes after the warm-up, of a market in which it raises an alert."""


def market() -> list[Candle]:
    """One whose bar FIRST raises an alert."""
    long = walk(700, seed=4)
    at = next(open_ms for open_ms, _ in expected(long, long[FIRST].open_ms))
    ahead = next(index for index, candle in enumerate(long) if candle.open_ms == at) - FIRST
    found = long[ahead : ahead + 600]
    assert any(open_ms == at for open_ms, _ in expected(found, at))
    return found


async def all_is_as_it_must_be(signals: Signals, candles: list[Candle], first: int) -> None:
    """Judged from `first` on, once and as news, and the values are those of the whole series."""
    wanted = expected(candles, candles[first].open_ms)
    assert candles[first].open_ms in {open_ms for open_ms, _ in wanted}
    assert sorted(await signals.labels(standing=False)) == wanted
    assert not any(one.alert.revised for one in await signals.alerts())
    async with signals.pool.connection() as connection:
        rows = await read_indicators(connection, signals.row.id, "AAAUSDT", Timeframe.M5)
    assert [row.n_eff for row in rows][first - len(candles) :] == list(range(first + 1, len(candles) + 1))


async def the_rest_closes(signals: Signals, candles: list[Candle]) -> None:
    """What waits is taken, then all after the second close; in the end all is as it must be."""
    async with signals.running():
        await signals.settle()
        for candle in candles[FIRST + 2 :]:
            await signals.close([candle], origin=Origin.BOUNDARY)
        await signals.settle()
    await all_is_as_it_must_be(signals, candles, FIRST)


@pytest.mark.parametrize("closed", [1, 2, 10])
async def test_what_was_folded_with_the_history_before_its_close_came_is_judged(
    signals: Signals, closed: int
) -> None:
    """Seeded from a cache that has bars already whose closes come rounds later."""
    candles = market()
    await signals.warm(candles[FIRST].open_ms + 100_000)
    await signals.close(candles[:FIRST], origin=Origin.WARMUP)
    await signals.close(candles[FIRST : FIRST + closed], origin=Origin.BOUNDARY)
    async with signals.running(batch=100):
        await signals.settle()
        seen = candles[: FIRST + closed]
        assert sorted(await signals.labels()) == expected(seen, candles[FIRST].open_ms)
        for candle in candles[FIRST + closed :]:
            await signals.close([candle], origin=Origin.BOUNDARY)
        await signals.settle()
    await all_is_as_it_must_be(signals, candles, FIRST)


async def test_what_comes_in_one_round_with_its_history_is_judged_however_late_it_was_fetched(
    signals: Signals,
) -> None:
    candles = market()
    await signals.warm(candles[FIRST].open_ms + 100_000)
    await signals.close(candles[:FIRST], origin=Origin.WARMUP)
    fetched = candles[FIRST + 1].open_ms + M5 + 2_000
    late = [
        StampedCandle(
            "AAAUSDT", Timeframe.M5, candle, Rank.FINAL, fetched, Origin.BOUNDARY, proven_ms=fetched
        )
        for candle in candles[FIRST : FIRST + 2]
    ]
    await signals.cache.write(late, SystemClock().now_ms())
    await the_rest_closes(signals, candles)
    assert {one.alert.open_ms for one in await signals.alerts() if one.alert.late} == {candles[FIRST].open_ms}


async def test_a_restart_and_a_crash_on_the_way_there_change_nothing(signals: Signals) -> None:
    candles = market()
    await signals.warm(candles[FIRST].open_ms + 100_000)
    await signals.close(candles[:FIRST], origin=Origin.WARMUP)
    await signals.close(candles[FIRST : FIRST + 2], origin=Origin.BOUNDARY)

    async def is_seeded() -> int:
        return int(await signals.redis.exists(keys.indicator_state(signals.row.id, "AAAUSDT", Timeframe.M5)))

    # Hundreds of rounds from its end: what closes after the warm-up is still to come when it stops.
    async with signals.running(batch=1):
        await signals.until(is_seeded)
    # The alerts are stored, what was computed is not kept: another holds the claim by then.
    ended = SignalsConsumer(signals.redis, signals.pool, signals.row, block_ms=20, token=OTHER)
    await asyncio.wait_for(ended.run(asyncio.Event()), PATIENCE_S)
    assert sorted(await signals.labels()) == expected(candles[: FIRST + 2], candles[FIRST].open_ms)
    await the_rest_closes(signals, candles)
    counters = await read_counters(signals.redis, signals.row.id)
    assert counters["alerts_published"] == len(await signals.labels(standing=False))
