"""From closes to stored and published alerts, on a real Valkey and PostgreSQL."""

from __future__ import annotations

import asyncio
import time

import pytest
from msgspec.structs import replace

from livermore_dagster.clock import SystemClock
from livermore_dagster.ingest import unknown_bars
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle, canonical
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.asked_ranges import AskedRange, add_asked_ranges
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.indicators import read_indicators
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.indicator_cache import IndicatorCache
from livermore_dagster.stores.redis.metrics import read_counters
from livermore_dagster.stores.redis.tickers import Ticker, write_tickers
from tests.e2e import oracle
from tests.integration.signals.conftest import BEGIN, Signals, walk

M5 = Timeframe.M5.ms


def expected(candles: list[Candle], first_live: int, *, whole_history: bool = False) -> list[tuple[int, str]]:
    bars = [
        oracle.Bar(c.open_ms, float(c.open), float(c.high), float(c.low), float(c.close), float(c.volume))
        for c in candles
    ]
    end = candles[-1].open_ms + M5
    found = oracle.alerts(bars, M5, first_live - 1, end, whole_history=whole_history)
    return sorted((alert.open_ms, alert.label) for alert in found)


async def test_history_raises_nothing_and_live_closes_what_the_rules_say(signals: Signals) -> None:
    candles = walk(600)
    pubsub = signals.redis.pubsub()
    await pubsub.subscribe(keys.channel_alerts(signals.row.id))
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.settle()
        assert await signals.labels() == []
        for candle in candles[300:]:
            await signals.close([candle])
        await signals.settle()
    wanted = expected(candles, candles[300].open_ms)
    assert len(wanted) > 5
    assert sorted(await signals.labels()) == wanted
    received = await signals.heard(pubsub)
    assert len({one["id"] for one in received}) == len(received) == len(wanted)
    assert {one["attempt"] for one in received} == {1}
    first = received[0]
    assert first["price_source"] == "candle_close"
    assert set(first["timeframes"]) == {"1m", "5m", "15m", "1h", "4h", "1d"}
    assert first["timeframes"]["5m"]["value"] == first["value"]
    assert not first["late"]
    counters = await read_counters(signals.redis, signals.row.id)
    assert counters["alerts_stored"] == counters["alerts_published"] == len(wanted)
    await pubsub.aclose()


async def test_a_restart_goes_on_where_it_was_without_seeding_anew(signals: Signals) -> None:
    candles = walk(600, seed=3)
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.settle()
        await signals.close(candles[300:400])
        await signals.settle()
    await signals.redis.delete(keys.candles(signals.row.id, "AAAUSDT", Timeframe.M5))
    async with signals.running():
        await signals.close(candles[400:])
        await signals.settle()
    assert sorted(await signals.labels()) == expected(candles, candles[300].open_ms)
    async with signals.pool.connection() as connection:
        rows = await read_indicators(connection, signals.row.id, "AAAUSDT", Timeframe.M5)
    assert {row.seed_open_ms for row in rows} == {BEGIN}
    assert rows[-1].n_eff == 600


async def test_what_closed_while_the_platform_was_down_is_judged_and_marked_late(signals: Signals) -> None:
    candles = walk(600, seed=4)
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300:310])
        await signals.settle()
    now = candles[-1].open_ms + M5
    async with signals.running():
        # The live close comes first, the warm-up of what lies between after it.
        await signals.close(candles[-1:])
        await signals.close(candles[310:-1], origin=Origin.WARMUP, proven_ms=now)
        await signals.settle()
    assert sorted(await signals.labels()) == expected(candles, candles[300].open_ms)
    for one in await signals.alerts():
        assert one.alert.late == (candles[310].open_ms <= one.alert.open_ms < candles[-1].open_ms)


async def test_what_closes_after_the_warm_up_is_judged_though_its_instance_ended_before(
    signals: Signals,
) -> None:
    """A 4h series may wait hours for its first live close, and another instance take over meanwhile."""
    candles = walk(600, seed=4)
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.settle()
    await signals.warm(candles[299].open_ms + M5 + 1_000)
    now = candles[-1].open_ms + M5
    async with signals.running():
        await signals.close(candles[300:], origin=Origin.WARMUP, proven_ms=now)
        await signals.settle()
    wanted = expected(candles, candles[300].open_ms)
    assert len(wanted) > 5
    assert sorted(await signals.labels()) == wanted
    assert all(one.alert.late for one in await signals.alerts())


async def test_live_closes_before_the_warm_up_are_judged_when_the_history_has_come(signals: Signals) -> None:
    candles = walk(400, seed=5)
    async with signals.running():
        await signals.close(candles[300:])
        await signals.settle()
        assert await signals.labels() == []
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.settle()
    assert sorted(await signals.labels()) == expected(candles, candles[300].open_ms)


async def test_older_bars_that_come_with_a_newer_ones_revision_are_folded_too(signals: Signals) -> None:
    """What a re-fold from one bar on has seen of the cache says nothing of the bars before it."""
    candles = walk(400, seed=5)
    async with signals.running():
        await signals.close(candles[200:300], origin=Origin.WARMUP)
        await signals.settle()
    again = replace(candles[299], volume="6")
    await signals.close([again], rank=Rank.SETTLED, origin=Origin.REPAIR)
    await signals.close(candles[:200], origin=Origin.WARMUP)
    async with signals.running():
        await signals.settle()
        await signals.close(candles[300:])
        await signals.settle()
    assert sorted(await signals.labels()) == expected(candles, candles[299].open_ms)
    found = await IndicatorCache(signals.redis, signals.row.id).read([("AAAUSDT", Timeframe.M5)])
    assert found["AAAUSDT", Timeframe.M5]["n_eff"] == 400


async def test_a_symbol_listed_in_mid_run_alerts_from_its_sixtieth_candle(signals: Signals) -> None:
    """Nobody notes its beginning: the ledger shows it, once its first candle is stored."""
    candles, day = walk(190, seed=3), Timeframe.D1.ms
    quiet_from = BEGIN - 1_200 * M5
    stamped = StampedCandle("AAAUSDT", Timeframe.M5, candles[0], Rank.FINAL, BEGIN, Origin.LIVE)
    await CandleTable(signals.pool).upsert(signals.row.id, [stamped])
    async with signals.pool.connection() as connection:
        ledger = [
            AskedRange("AAAUSDT", Timeframe.M5, quiet_from, BEGIN, BEGIN + 5_000),
            AskedRange("AAAUSDT", Timeframe.D1, BEGIN - 1_200 * day, BEGIN, BEGIN + 5_000),
        ]
        await add_asked_ranges(connection, signals.row.id, ledger)
    async with signals.running():
        for candle in candles:
            await signals.close([candle])
        await signals.settle()
    wanted = expected(candles, candles[0].open_ms, whole_history=True)
    assert len(wanted) > 2
    assert sorted(await signals.labels()) == wanted


async def test_a_revision_adds_and_withdraws_and_resends_nothing(signals: Signals) -> None:
    candles = walk(600, seed=1)
    crossing = next(
        i for i, c in enumerate(candles)
        if (c.open_ms, "level_-150") in expected(candles, candles[300].open_ms)
    )  # fmt: skip
    cross = candles[crossing]
    # A bounce instead of the fall that crossed.
    flat = replace(cross, high="200", close=canonical(f"{float(cross.open) * 1.03:.6f}"))
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300 : crossing + 2])
        await signals.settle()
        alerts = await signals.labels()
        assert (cross.open_ms, "level_-150") in alerts
        await signals.close([flat], rank=Rank.SETTLED, origin=Origin.REPAIR)
        await signals.settle()
        changed = [*candles[:crossing], flat, candles[crossing + 1]]
        assert sorted(await signals.labels()) == expected(changed, candles[300].open_ms)
        assert (cross.open_ms, "level_-150") not in await signals.labels()
    vanished = [one for one in await signals.alerts() if one.withdrawn_ms is not None]
    assert (cross.open_ms, "level_-150") in [(one.alert.open_ms, one.alert.label) for one in vanished]
    counters = await read_counters(signals.redis, signals.row.id)
    assert counters["alerts_published"] == len(await signals.labels(standing=False))


async def test_an_unknown_bar_is_waited_for_and_holds_no_other_series_back(signals: Signals) -> None:
    candles = walk(310, seed=6)
    cache = IndicatorCache(signals.redis, signals.row.id)

    async def newest(symbol: str) -> int:
        found = await cache.read([(symbol, Timeframe.M5)])
        return found[symbol, Timeframe.M5]["open_ms"] if found else 0

    async with signals.running():
        for symbol in ("AAAUSDT", "BBBUSDT", "CCCUSDT"):
            await signals.close(candles[:300], symbol, origin=Origin.WARMUP)
            await signals.close(candles[300:301], symbol)
        await signals.settle()
        await signals.close(candles[302:303], "AAAUSDT")
        await signals.close(candles[301:304], "BBBUSDT")
        await signals.until(lambda: _is(newest("BBBUSDT"), candles[303].open_ms))
        assert await newest("AAAUSDT") == candles[300].open_ms
        await signals.close(candles[301:302], "AAAUSDT", origin=Origin.REPAIR)
        await signals.settle()
        assert await newest("AAAUSDT") == candles[302].open_ms
        await signals.close(candles[302:303], "CCCUSDT")
        async with signals.pool.connection() as connection:
            ledger = AskedRange("CCCUSDT", Timeframe.M5, candles[301].open_ms, candles[302].open_ms, 0)
            await add_asked_ranges(connection, signals.row.id, [ledger])
        await signals.settle()
    found = await cache.read([("AAAUSDT", Timeframe.M5), ("CCCUSDT", Timeframe.M5)])
    assert found["AAAUSDT", Timeframe.M5]["n_eff"] == 303
    assert found["CCCUSDT", Timeframe.M5]["n_eff"] == 302
    assert found["CCCUSDT", Timeframe.M5]["span_bars"] == 303
    assert {one["unknown_bars"] for one in found.values()} == {0}


async def test_closes_of_a_symbol_that_has_gone_meanwhile_bring_no_indicator_back(signals: Signals) -> None:
    candles = walk(301, seed=6)
    for symbol in ("AAAUSDT", "BBBUSDT"):
        await signals.close(candles, symbol, origin=Origin.WARMUP)
    await CandleCache(signals.redis, signals.row.id).dismiss(["AAAUSDT"])
    async with signals.running():
        await signals.settle()
    assert await signals.redis.keys("indicator:*:AAAUSDT:*") == []
    assert len(await signals.redis.keys("indicator:*:BBBUSDT:*")) == 2


async def _is(found: object, wanted: int) -> bool:
    return await found == wanted  # type: ignore[misc]


async def test_patience_does_not_end_while_the_warm_up_is_on_its_way(signals: Signals) -> None:
    """A start after a pause: live closes come at once, what lies before them minutes later."""
    candles, warm = walk(600, seed=4), asyncio.Event()
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300:310])
        await signals.settle()
    async with signals.running(patience_s=0.2, warm=warm):
        await signals.close(candles[500:])
        await signals.close(candles[300:301], "BBBUSDT")
        await asyncio.sleep(0.6)  # three times the patience
        await signals.close(candles[310:500], origin=Origin.WARMUP)
        await signals.settle()
        warm.set()
    assert sorted(await signals.labels()) == expected(candles, candles[300].open_ms)
    found = await IndicatorCache(signals.redis, signals.row.id).read([("AAAUSDT", Timeframe.M5)])
    assert found["AAAUSDT", Timeframe.M5]["unknown_bars"] == 0


async def test_series_that_wait_for_the_warm_up_are_not_looked_at_with_every_close(
    signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause hundreds wait for minutes, on the loop that reads sockets and warms up."""
    candles, warm = walk(600, seed=4), asyncio.Event()
    waiting = [f"W{index}USDT" for index in range(5)]
    async with signals.running():
        for symbol in (*waiting, "BBBUSDT"):
            await signals.close(candles[:300], symbol, origin=Origin.WARMUP)
            await signals.close(candles[300:301], symbol)
        await signals.settle()
    async with signals.running(patience_s=0.2, warm=warm):
        for symbol in waiting:
            await signals.close(candles[310:311], symbol)
        begun, before = time.monotonic(), await _cache_reads(signals)
        for index in range(40):
            await signals.close(candles[301 + index : 302 + index], "BBBUSDT")
            for symbol in waiting if index % 8 == 0 else ():
                await signals.close(candles[311 + index // 8 : 312 + index // 8], symbol)
            await asyncio.sleep(0.02)
        looks = (await _cache_reads(signals) - before) / len(waiting)
        assert looks <= 2 + (time.monotonic() - begun) / 2
        # What they wait for tells of itself: nobody would look for it now.
        monkeypatch.setattr(unknown_bars, "_LOOK_COLD_S", 3_600.0)
        for symbol in waiting:
            await signals.close(candles[301:310], symbol, origin=Origin.WARMUP)
        await signals.settle()
        monkeypatch.undo()
        # And what tells nothing is seen all the same.
        await signals.close(candles[351:352], "BBBUSDT")
        ledger = AskedRange("BBBUSDT", Timeframe.M5, candles[341].open_ms, candles[351].open_ms, 0)
        async with signals.pool.connection() as connection:
            await add_asked_ranges(connection, signals.row.id, [ledger])
        await signals.settle()
    keys_of = [(symbol, Timeframe.M5) for symbol in (*waiting, "BBBUSDT")]
    found = await IndicatorCache(signals.redis, signals.row.id).read(keys_of)
    assert {found[key]["open_ms"] for key in keys_of} == {candles[315].open_ms, candles[351].open_ms}
    assert {one["unknown_bars"] for one in found.values()} == {0}


async def _cache_reads(signals: Signals) -> int:
    found = await signals.redis.info("commandstats")
    return int(found.get("cmdstat_zrevrangebyscore", {"calls": 0})["calls"])


async def test_a_series_never_folded_is_not_seeded_over_a_hole_either(signals: Signals) -> None:
    """Killed before it came to the series: live closes of before and after are there, none between."""
    candles, warm = walk(600, seed=4), asyncio.Event()
    await signals.close(candles[:300], origin=Origin.WARMUP)
    async with signals.running(warm=warm):
        await signals.close(candles[:1], "BBBUSDT")
        await signals.settle()
    await signals.redis.delete(keys.indicator_state(signals.row.id, "AAAUSDT", Timeframe.M5))
    await signals.close(candles[300:310])
    await signals.close(candles[500:])
    async with signals.running(patience_s=0.2, warm=warm):
        await asyncio.sleep(0.6)
        await signals.close(candles[310:500], origin=Origin.WARMUP)
        await signals.settle()
    assert sorted(await signals.labels()) == expected(candles, candles[300].open_ms)


async def test_patience_ends_and_the_series_says_so(signals: Signals) -> None:
    candles = walk(310, seed=6)
    async with signals.running(patience_s=0.3):
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.close(candles[300:301])
        await signals.settle()
        await signals.close(candles[302:303])
        await signals.settle()
    found = await IndicatorCache(signals.redis, signals.row.id).read([("AAAUSDT", Timeframe.M5)])
    assert found["AAAUSDT", Timeframe.M5]["unknown_bars"] == 1


async def test_a_price_comes_from_the_ticker_where_there_is_one(signals: Signals) -> None:
    candles = walk(600)
    ticker = Ticker("AAAUSDT", "123.4", None, None, None, None, None, None, None, ts=BEGIN)
    await write_tickers(signals.redis, signals.row.id, "binance", [ticker])
    async with signals.running():
        await signals.close(candles[:300], origin=Origin.WARMUP)
        await signals.settle()
        await signals.close(candles[300:])
        await signals.settle()
    alert = (await signals.alerts())[0].alert
    assert (alert.price, alert.price_source) == ("123.4", "ticker")
    assert alert.price_age_ms > 0
    assert SystemClock().now_ms() > alert.triggered_ms
