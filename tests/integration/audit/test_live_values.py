"""Live values against a recomputation: what is found, what is not judged, and what is no difference."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

import pytest

from livermore_dagster.audit import live_values, series_lead
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.live_values import live_equals_batch
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.ingest.context import ExchangeContext, open_context
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.macdv import MacdvPoint, State, step
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.indicators import IndicatorRow, upsert_indicators
from livermore_dagster.stores.redis import keys
from tests.integration.ingest.played import IDS, Platform, point

M1 = Timeframe.M1
SYMBOL = "BTCUSDT"
END_MS = 1_767_657_600_000
WINDOW = 31


@pytest.fixture
async def ctx(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ExchangeContext]:
    """Nothing is asked of the exchange."""
    monkeypatch.setattr(live_values, "FOLDED_S", 0.0)
    await point(database_url, {}, tuple(Timeframe))
    async with open_context("binance", Platform(redis_url, database_url, {})) as opened:
        yield opened


def market(bars: int, traded: float, *, fills: bool) -> list[Candle]:
    """1m candles up to END_MS of a symbol that trades in `traded` of its bars."""
    chance, price = random.Random(5), 100.0
    candles: list[Candle] = []
    for bar in range(bars):
        open_ms = END_MS - (bars - bar) * M1.ms
        if bar in (0, bars - 1) or chance.random() < traded:
            before, price = price, price * (1 + chance.gauss(0, 0.002))
            high, low = max(before, price) * 1.001, min(before, price) * 0.999
            volume, values = "1", (before, high, low, price)
        elif fills:
            volume, values = "0", (price, price, price, price)
        else:
            continue
        candles.append(Candle(open_ms, *(f"{value:.8f}" for value in values), volume))
    return candles


async def store(ctx: ExchangeContext, candles: Sequence[Candle], kept: int | None = None) -> list[MacdvPoint]:
    """All are folded live from the first on; the newest `kept` are held. The points of the window."""
    state: State | None = None
    points: list[MacdvPoint] = []
    for candle in candles:
        state, folded = step(state, candle, M1)
        points.append(folded)
    held = candles if kept is None else candles[-kept:]
    rows = [
        StampedCandle(SYMBOL, M1, one, Rank.SETTLED, END_MS, Origin.BACKFILL, proven_ms=END_MS)
        for one in held
    ]
    await ctx.table.upsert(ctx.row.id, rows)
    live = [one for one in points if one.open_ms >= END_MS - WINDOW * M1.ms]
    await write(ctx, live)
    return live


async def write(ctx: ExchangeContext, points: Sequence[MacdvPoint]) -> None:
    async with ctx.pool.connection() as connection:
        await upsert_indicators(connection, ctx.row.id, [IndicatorRow(SYMBOL, M1, one) for one in points])


def cell(ctx: ExchangeContext) -> Cell:
    return Cell(ctx, M1, [SYMBOL], END_MS, by_hand=False)


@pytest.mark.parametrize(
    ("bars", "traded", "fills"),
    [(3_600, 1.0, True), (7_000, 0.1, True), (13_000, 0.05, True), (9_000, 0.08, False), (6_000, 0.02, True)],
)
async def test_of_whatever_seldom_trades_nothing_differs(
    ctx: ExchangeContext, bars: int, traded: float, fills: bool
) -> None:
    live = await store(ctx, market(bars, traded, fills=fills))
    verdict = await live_equals_batch(cell(ctx), END_MS - WINDOW * M1.ms)
    assert (verdict.passed, verdict.rows) == (True, [])
    assert verdict.numbers["live values compared"] == len(live)
    assert verdict.numbers["not judged (seed not held)"] == 0


async def test_without_its_seed_and_enough_to_forget_it_a_value_is_not_judged(
    ctx: ExchangeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the seed lies further back than is ever read, nothing is read to say so."""
    live = await store(ctx, market(3_600, 0.3, fills=True), kept=1_000)
    monkeypatch.setattr(series_lead, "LEAD_BARS", 2_000)
    monkeypatch.delattr(CandleTable, "read")
    verdict = await live_equals_batch(cell(ctx), END_MS - WINDOW * M1.ms)
    assert verdict.passed
    assert verdict.numbers["live values compared"] == 0
    assert verdict.numbers["not judged (seed not held)"] == len(live)


@pytest.mark.parametrize(
    ("wrong", "column"),
    [
        ("UPDATE indicators SET signal = signal + 0.001 WHERE open_ms = %s", "signal"),
        ("UPDATE indicators SET histogram = histogram + 0.001 WHERE open_ms = %s", "histogram"),
        ("UPDATE indicators SET stage = 'oversold' WHERE open_ms = %s", "stage"),
        ("UPDATE indicators SET macdv = NULL, stage = 'unknown' WHERE open_ms = %s", "macdv"),
    ],
)
async def test_every_part_of_a_live_value_is_compared(
    ctx: ExchangeContext, database_url: str, redis_url: str, wrong: str, column: str
) -> None:
    live = await store(ctx, market(700, 1.0, fills=True))
    platform = Platform(redis_url, database_url, {})
    platform.execute(wrong, live[10].open_ms)
    verdict = await live_equals_batch(cell(ctx), END_MS - WINDOW * M1.ms)
    assert not verdict.passed
    assert [row["field"] for row in verdict.rows] == [column]
    # A close after the boundary, whose candle is still on its way.
    await write(ctx, [*live, live[-1]._replace(open_ms=END_MS)])
    assert (await live_equals_batch(cell(ctx), END_MS - WINDOW * M1.ms)).passed


async def test_an_instance_that_computes_nothing_does_not_pass(
    ctx: ExchangeContext, database_url: str, redis_url: str
) -> None:
    live = await store(ctx, market(700, 1.0, fills=True))
    platform = Platform(redis_url, database_url, {})
    platform.execute("DELETE FROM indicators")
    from_ms = END_MS - WINDOW * M1.ms
    assert (await live_equals_batch(cell(ctx), from_ms)).passed, "no instance, nothing to compute"
    with platform.redis() as client:
        claim = Claim(client, IDS["binance"], "binance")
        claim.acquire()
        for state in (InstanceState.STARTING, InstanceState.WARMING, InstanceState.ACTIVE):
            claim.advance(state)
        client.set(keys.settled(IDS["binance"]), END_MS)
        client.hset(keys.computed(IDS["binance"]), "1m", END_MS - M1.ms)
        client.hset(keys.warmed(IDS["binance"]), SYMBOL, END_MS - 10 * M1.ms)
        assert (await live_equals_batch(cell(ctx), from_ms)).passed, "it is wanted only since then"
        client.hset(keys.computed(IDS["binance"]), "1m", END_MS - 20 * M1.ms)
        client.hset(keys.warmed(IDS["binance"]), SYMBOL, END_MS - M1.ms)
        assert (await live_equals_batch(cell(ctx), from_ms)).passed, "it has only just begun"
        client.hset(keys.warmed(IDS["binance"]), SYMBOL, END_MS - 10 * M1.ms)
        verdict = await live_equals_batch(cell(ctx), from_ms)
        assert not verdict.passed
        assert (
            verdict.numbers["computed nothing"] == f"{SYMBOL} traded, and no value of any symbol was stored"
        )
        await write(ctx, live)
        assert (await live_equals_batch(cell(ctx), from_ms)).passed
        claim.release()
