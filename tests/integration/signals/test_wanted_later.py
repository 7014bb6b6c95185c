"""A timeframe that is wanted later than its symbol: judged from then on, whatever of it comes first."""

from __future__ import annotations

import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.series import learn_first_open
from livermore_dagster.stores.redis import keys
from tests.integration.signals.conftest import Signals, walk
from tests.integration.signals.test_signals import M5, expected
from tests.integration.signals.test_signals_behind import FIRST, all_is_as_it_must_be, market

GAP = 40
"""Bars that nobody was there for, from FIRST on."""


async def not_wanted(signals: Signals, candles: list[Candle]) -> None:
    """Until FIRST 5m is not computed, though its symbol is warm and its closes come."""
    await signals.warm(candles[FIRST - 100].open_ms + 100_000)
    await signals.redis.delete(keys.computed(signals.row.id))
    await signals.close(candles[: FIRST - 100], origin=Origin.WARMUP)
    await signals.close(candles[FIRST - 100 : FIRST], origin=Origin.BOUNDARY)
    async with signals.running(timeframes=[Timeframe.H1]):
        await signals.settle()


async def wanted_from(signals: Signals, bar: Candle) -> None:
    """It is while `bar` is open that it is wanted."""
    await signals.redis.hset(keys.computed(signals.row.id), "5m", str(bar.open_ms + 100_000))


@pytest.mark.parametrize("told", [True, False])
async def test_it_is_judged_from_then_on_and_not_from_the_warm_up_on(signals: Signals, *, told: bool) -> None:
    candles = market()
    await not_wanted(signals, candles)
    if told:
        await wanted_from(signals, candles[FIRST])
    async with signals.running():
        for candle in candles[FIRST:]:
            await signals.close([candle], origin=Origin.BOUNDARY)
        await signals.settle()
    await all_is_as_it_must_be(signals, candles, FIRST)
    assert not any(one.alert.late for one in await signals.alerts())


@pytest.mark.parametrize("live_first", [True, False])
@pytest.mark.parametrize("origin", [Origin.WARMUP, Origin.REPAIR])
async def test_a_gap_since_then_is_judged_late_all_of_it_whatever_of_it_comes_first(
    signals: Signals, origin: Origin, *, live_first: bool
) -> None:
    """Wanted, and the instance ended before any bar of it closed."""
    candles = market()
    back = FIRST + GAP
    now = candles[back].open_ms + M5 + 1_000
    await not_wanted(signals, candles)
    await wanted_from(signals, candles[FIRST])
    async with signals.running():
        if live_first:
            await signals.close([candles[back]])
            await signals.until(lambda: has_seen_all(signals))
        await fetched(signals, candles[FIRST:back], origin, now)
        await signals.settle()
        for candle in candles[back:]:
            await signals.close([candle], origin=Origin.BOUNDARY)
        await signals.settle()
    await all_is_as_it_must_be(signals, candles, FIRST)
    late = {one.alert.open_ms for one in await signals.alerts() if one.alert.late}
    wanted = {open_ms for open_ms, _ in expected(candles, candles[FIRST].open_ms)}
    assert late == {open_ms for open_ms in wanted if open_ms < candles[back].open_ms}


async def fetched(signals: Signals, candles: list[Candle], origin: Origin, now: int) -> None:
    """By one request, at `now` (exchange clock)."""
    rows = [
        StampedCandle("AAAUSDT", Timeframe.M5, candle, Rank.SETTLED, now, origin, proven_ms=now)
        for candle in candles
    ]
    await signals.cache.write(rows, SystemClock().now_ms())


async def has_seen_all(signals: Signals) -> bool:
    """The consumer has had every close."""
    groups = await signals.redis.xinfo_groups(keys.closes(signals.row.id))
    return not next(group["lag"] for group in groups if group["name"] == keys.CLOSES_GROUP_SIGNALS)


@pytest.mark.parametrize("told", [True, False])
async def test_a_gap_from_before_then_is_history_all_of_it(signals: Signals, *, told: bool) -> None:
    """Wanted while nothing ran: told when the warm-up is through, before or after signals get there."""
    candles = market()
    back = FIRST + GAP
    now = candles[back].open_ms + 1_000
    await not_wanted(signals, candles)
    if told:
        await wanted_from(signals, candles[back])
    async with signals.running():
        await fetched(signals, candles[FIRST:back], Origin.WARMUP, now)
        await signals.settle()
        await wanted_from(signals, candles[back])
        for candle in candles[back:]:
            await signals.close([candle], origin=Origin.BOUNDARY)
        await signals.settle()
    assert sorted(await signals.labels(standing=False)) == expected(candles, candles[back].open_ms)
    assert not any(one.alert.late for one in await signals.alerts())


async def test_one_bar_that_closed_while_nobody_was_there_does_not_wait_for_the_next(
    signals: Signals,
) -> None:
    candles = market()
    await not_wanted(signals, candles)
    await wanted_from(signals, candles[FIRST])
    now = candles[FIRST].open_ms + M5 + 60_000
    async with signals.running():
        await fetched(signals, candles[FIRST : FIRST + 1], Origin.WARMUP, now)
        await signals.settle()
        assert sorted(await signals.labels()) == expected(candles[: FIRST + 1], candles[FIRST].open_ms)
        assert all(one.alert.late for one in await signals.alerts())
        await signals.close(candles[FIRST + 1 :])
        await signals.settle()
    await all_is_as_it_must_be(signals, candles, FIRST)


async def test_what_was_not_listed_yet_when_it_was_warm_is_not_waited_for(signals: Signals) -> None:
    candles = walk(190, seed=3)
    await signals.warm(candles[0].open_ms - 20 * M5)
    async with signals.pool.connection() as connection:
        await learn_first_open(connection, signals.row.id, "AAAUSDT", Timeframe.M5, candles[0].open_ms)
    async with signals.running(patience_s=600):
        for candle in candles:
            await signals.close([candle])
        await signals.settle()
    assert sorted(await signals.labels()) == expected(candles, candles[0].open_ms, whole_history=True)


@pytest.mark.parametrize("history_first", [True, False])
async def test_what_was_lost_of_a_series_is_not_judged_again_from_the_warm_up_on(
    signals: Signals, *, history_first: bool
) -> None:
    """Its state cannot be read: seeded anew, it is judged from its next live close on."""
    candles = market()
    await not_wanted(signals, candles[: FIRST - 1])
    await wanted_from(signals, candles[FIRST - 100])
    await signals.redis.set(keys.indicator_state(signals.row.id, "AAAUSDT", Timeframe.M5), "{")
    async with signals.running():
        origin = Origin.WARMUP if history_first else Origin.LIVE
        await signals.close(candles[FIRST - 1 : FIRST], origin=origin)
        await signals.close(candles[FIRST:])
        await signals.settle()
    first = candles[FIRST if history_first else FIRST - 1].open_ms
    assert sorted(await signals.labels()) == expected(candles, first)
