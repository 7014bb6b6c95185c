"""A series that cannot be computed holds no other up; a consumer without its claim keeps nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from livermore_dagster.control.claim import Claim
from livermore_dagster.errors import ClaimLost
from livermore_dagster.ingest import series_fold, series_troubles
from livermore_dagster.ingest.waiting import SIGNALS, Waiting
from livermore_dagster.market.candle import Candle, Origin, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.indicator_cache import IndicatorCache, SeriesUpdate
from livermore_dagster.stores.redis.metrics import Incident, read_counters, read_incidents
from tests.integration.signals.conftest import Signals, walk
from tests.integration.signals.test_signals import expected

BAD, GOOD = "AAAUSDT", "BBBUSDT"
OTHER = "of another"


class Poison:
    """From when it is set, one candle makes the fold raise; with `batch` the seeding too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.close: str | None = None
        self.batch = False
        self.met = 0
        step, columns_of = series_fold.step, series_fold.columns_of

        def poisoned_step(state: Any, candle: Candle, timeframe: Timeframe) -> Any:
            self.look(candle.close)
            return step(state, candle, timeframe)

        def poisoned_columns(rows: Sequence[StampedCandle], timeframe: Timeframe) -> Any:
            if self.batch and any(row.candle.close == self.close for row in rows):
                raise ArithmeticError("poisoned")
            return columns_of(rows, timeframe)

        monkeypatch.setattr(series_fold, "step", poisoned_step)
        monkeypatch.setattr(series_fold, "columns_of", poisoned_columns)

    def look(self, close: str) -> None:
        if close == self.close:
            self.met += 1
            raise ValueError("poisoned")


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Poison:
    return Poison(monkeypatch)


async def incidents(signals: Signals) -> dict[str, Incident]:
    return {one.name: one for one in await read_incidents(signals.redis)}


async def alerts_of(signals: Signals, symbol: str) -> list[tuple[int, str]]:
    found = [one.alert for one in await signals.alerts() if one.alert.symbol == symbol]
    return sorted((alert.open_ms, alert.label) for alert in found)


async def play(signals: Signals, bad: Sequence[Candle], good: Sequence[Candle], origin: Origin) -> None:
    for symbol, candles in ((BAD, bad), (GOOD, good)):
        await signals.close(candles, symbol, origin=origin)


async def test_a_close_that_cannot_be_folded_has_its_series_seeded_anew(
    signals: Signals, poison: Poison
) -> None:
    bad, good = walk(500, seed=3), walk(500, seed=4)
    async with signals.running():
        await play(signals, bad[:300], good[:300], Origin.WARMUP)
        await play(signals, bad[300:301], good[300:301], Origin.LIVE)
        await signals.settle()
        poison.close = bad[400].close
        for index in range(301, 500):
            await play(signals, bad[index : index + 1], good[index : index + 1], Origin.LIVE)
        await signals.settle()
    assert poison.met == series_troubles.TRIES
    assert await alerts_of(signals, BAD) == expected(bad, bad[300].open_ms)
    assert await alerts_of(signals, GOOD) == expected(good, good[300].open_ms)
    told = await incidents(signals)
    assert told["fold_failed"].severity == "error"
    assert "AAAUSDT 5m" in told["fold_failed"].text
    assert "series_aside" not in told


async def test_a_series_that_cannot_even_be_seeded_is_set_aside_until_it_can(
    signals: Signals, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_troubles, "ASIDE_S", 3_600.0)
    bad, good = walk(500, seed=3), walk(500, seed=4)
    async with signals.running():
        await play(signals, bad[:300], good[:300], Origin.WARMUP)
        await play(signals, bad[300:301], good[300:301], Origin.LIVE)
        await signals.settle()
        poison.close, poison.batch = bad[310].close, True
        await play(signals, bad[301:400], good[301:], Origin.LIVE)
        await signals.settle()
        assert await alerts_of(signals, GOOD) == expected(good, good[300].open_ms)
        assert (await incidents(signals))["series_aside"].severity == "error"
    poison.close = None
    async with signals.running():
        await play(signals, bad[400:], [], Origin.LIVE)
        await signals.settle()
    assert await alerts_of(signals, BAD) == expected(bad, bad[300].open_ms)


async def test_it_is_tried_again_after_a_while(
    signals: Signals, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_troubles, "ASIDE_S", 0.0)
    bad = walk(400, seed=3)
    async with signals.running():
        await signals.close(bad[:300], origin=Origin.WARMUP)
        await signals.close(bad[300:301])
        await signals.settle()
        poison.close, poison.batch = bad[310].close, True
        await signals.close(bad[301:350])
        await signals.until(lambda: has(signals, "series_aside"))
        poison.close = None
        await signals.close(bad[350:])
        await signals.settle()
    assert "series_resumed" in await incidents(signals)
    assert await alerts_of(signals, BAD) == expected(bad, bad[300].open_ms)


async def has(signals: Signals, name: str) -> bool:
    return name in await incidents(signals)


async def test_nothing_is_kept_under_a_claim_that_is_anothers(signals: Signals, redis_url: str) -> None:
    candles = walk(310, seed=3)
    with connect(redis_url) as client:
        claim = Claim(client, signals.row.id, "binance")
        claim.acquire()
        claim.start_heartbeat()
        try:
            async with signals.running(token=claim.status.token):
                await signals.close(candles[:300], origin=Origin.WARMUP)
                await signals.settle()
            state = await signals.redis.get(keys.indicator_state(signals.row.id, BAD, Timeframe.M5))
            async with signals.running(token=OTHER):
                await signals.close(candles[300:], origin=Origin.LIVE)
                await signals.until(lambda: pending(signals))
            assert await signals.redis.get(keys.indicator_state(signals.row.id, BAD, Timeframe.M5)) == state
            cache = IndicatorCache(signals.redis, signals.row.id, OTHER)
            with pytest.raises(ClaimLost):
                await cache.commit([SeriesUpdate(BAD, Timeframe.M5, "", "{}")], [])
        finally:
            claim.release()


async def pending(signals: Signals) -> bool:
    groups = await signals.redis.xinfo_groups(keys.closes(signals.row.id))
    return any(one["name"] == keys.CLOSES_GROUP_SIGNALS and one["pending"] == 10 for one in groups)


async def test_waiting_for_a_server_is_counted_and_told(signals: Signals) -> None:
    waiting, stop = Waiting(signals.redis, signals.row.id, SIGNALS), asyncio.Event()
    await waiting.over()
    for _ in range(2):
        await waiting.after(psycopg.OperationalError("the server is gone\nand more"), stop)
    await waiting.over()
    counters = await read_counters(signals.redis, signals.row.id)
    assert counters["signals_retries"] == 2
    told = await incidents(signals)
    assert told["signals_waiting"].text == "Signals wait for PostgreSQL: the server is gone"
    assert "after 2 failed attempts" in told["signals_resumed"].text
