"""Candles revised, filled in or lost from the cache long after: alerts as if it had always been so (S6b)."""

from __future__ import annotations

import json

from msgspec.structs import replace

from livermore_dagster.clock import SystemClock
from livermore_dagster.market.candle import Origin, Rank, StampedCandle, canonical
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.indicators import read_indicators
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.indicator_cache import IndicatorCache
from livermore_dagster.stores.redis.metrics import read_counters
from tests.e2e import oracle
from tests.integration.signals.conftest import PATIENCE_S, Signals, walk
from tests.integration.signals.test_signals import M5, expected


async def test_a_candle_revised_long_ago_adds_and_withdraws_what_it_changes(signals: Signals) -> None:
    """Further back than states are kept: as if it had always been so (S6b)."""
    candles = walk(600, seed=1)
    standing = expected(candles, candles[300].open_ms)
    crossing = next(i for i, c in enumerate(candles) if (c.open_ms, "level_-150") in standing)
    cross = candles[crossing]
    flat = replace(cross, high="200", close=canonical(f"{float(cross.open) * 1.03:.6f}"))
    changed = [*candles[:crossing], flat, *candles[crossing + 1 :]]
    wanted = expected(changed, candles[300].open_ms)
    assert set(standing) - set(wanted)
    assert set(wanted) - set(standing)
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300:])
        await signals.settle()
        assert sorted(await signals.labels()) == standing
        at = cross.open_ms + 2 * M5
        stamped = StampedCandle("AAAUSDT", Timeframe.M5, flat, Rank.SETTLED, at, Origin.REPAIR, proven_ms=at)
        await signals.cache.write([stamped], SystemClock().now_ms())
        await signals.settle()
        assert sorted(await signals.labels()) == wanted
        added = {(one.alert.open_ms, one.alert.label) for one in await signals.alerts() if one.alert.revised}
        assert added == set(wanted) - set(standing)
        # And back again: what stood before stands again, and nothing is sent a second time.
        published = (await read_counters(signals.redis, signals.row.id))["alerts_published"]
        later = replace(stamped, candle=cross, stamp_ms=stamped.stamp_ms + 1)
        async with signals.redis.pubsub() as heard:
            await heard.subscribe(keys.CHANNEL_ALERTS_AGAIN)
            await heard.get_message(timeout=PATIENCE_S)
            await signals.cache.write([later], SystemClock().now_ms())
            await signals.settle()
            woken = await heard.get_message(timeout=PATIENCE_S)
        assert woken is not None, "who notifies hears that some stand again"
        assert json.loads(woken["data"]) == {"exchange_id": signals.row.id}
    assert sorted(await signals.labels()) == standing
    assert (await read_counters(signals.redis, signals.row.id))["alerts_published"] == published


async def test_a_gap_filled_long_after_is_judged_as_if_it_had_never_been(signals: Signals) -> None:
    candles = walk(600, seed=1)
    wanted = expected(candles, candles[300].open_ms)
    crossing = next(i for i, c in enumerate(candles) if (c.open_ms, "level_-150") in wanted)
    gap = slice(crossing - 1, crossing + 1)
    async with signals.running(patience_s=0.2):
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300 : gap.start])
        await signals.close(candles[gap.stop :])
        await signals.settle()
        assert sorted(await signals.labels()) != wanted
        await signals.close(candles[gap], origin=Origin.REPAIR)
        await signals.settle()
    assert sorted(await signals.labels()) == wanted


async def test_a_cache_emptied_and_filled_again_sets_nothing_back(signals: Signals) -> None:
    """Oldest first, while live closes go on; what comes back revised is judged when all is there."""
    candles = walk(601, seed=1)
    standing = expected(candles[:600], candles[300].open_ms)
    at = next(i for i, c in enumerate(candles) if i > 330 and (c.open_ms, "level_-150") in standing)
    flat = replace(candles[at], high="200", close=canonical(f"{float(candles[at].open) * 1.03:.6f}"))
    changed = [*candles[:at], flat, *candles[at + 1 :]]
    indicators = IndicatorCache(signals.redis, signals.row.id)

    async def newest() -> int:
        return int((await indicators.read([("AAAUSDT", Timeframe.M5)]))["AAAUSDT", Timeframe.M5]["open_ms"])

    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300:600])
        await signals.settle()
        await signals.redis.delete(keys.candles(signals.row.id, "AAAUSDT", Timeframe.M5))
        await signals.close(changed[: at + 5], origin=Origin.BACKFILL)
        await signals.settle()
        assert sorted(await signals.labels()) == standing
        assert await newest() == candles[599].open_ms
        await signals.close(candles[600:])
        await signals.settle()
        assert await newest() == candles[600].open_ms
        assert set(await signals.labels()) >= set(standing)
        for start in range(at + 5, 600, 50):
            await signals.close(changed[start : min(start + 50, 600)], origin=Origin.BACKFILL)
            await signals.settle()
            assert await newest() == candles[600].open_ms
    assert sorted(await signals.labels()) == expected(changed, candles[300].open_ms)


async def test_history_revised_before_the_first_live_close_alerts_nothing(signals: Signals) -> None:
    candles = walk(600, seed=1)
    standing = expected(candles, candles[300].open_ms)
    crossing = next(i for i, c in enumerate(candles) if (c.open_ms, "level_-150") in standing)
    flat = replace(candles[crossing], high="200", close=candles[crossing].open)
    async with signals.running():
        await signals.close([*candles[:crossing], flat], origin=Origin.WARMUP)
        await signals.close(candles[crossing + 1 : crossing + 2])
        await signals.settle()
        await signals.close([candles[crossing]], rank=Rank.SETTLED, origin=Origin.REPAIR)
        await signals.settle()
    assert all(open_ms > candles[crossing].open_ms for open_ms, _ in await signals.labels(standing=False))


async def test_a_revision_that_waited_behind_a_gap_is_folded_too(signals: Signals) -> None:
    """What was read of the cache when the gap was filled says nothing of the closes after it."""
    candles = walk(310, seed=6)
    revised = replace(candles[303], close=canonical(f"{float(candles[303].close) * 1.02:.6f}"), high="200")
    at = revised.open_ms + 2 * M5
    later = StampedCandle("AAAUSDT", Timeframe.M5, revised, Rank.FINAL, at, Origin.LIVE, proven_ms=at)
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300:301])
        await signals.settle()
        await signals.close(candles[302:304])
        await signals.cache.write([later], SystemClock().now_ms())
        await signals.close(candles[301:302], origin=Origin.REPAIR)
        await signals.settle()
    series = [*candles[:303], revised]
    bars = [
        oracle.Bar(c.open_ms, float(c.open), float(c.high), float(c.low), float(c.close), float(c.volume))
        for c in series
    ]
    async with signals.pool.connection() as connection:
        rows = await read_indicators(connection, signals.row.id, "AAAUSDT", Timeframe.M5)
    assert abs((rows[-1].macdv or 0.0) - oracle.values(bars, M5)[-1].v) < 1e-6
