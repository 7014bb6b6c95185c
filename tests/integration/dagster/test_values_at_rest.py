"""Indicators at rest after absences, with sparse trading, and beside what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import psycopg
import pytest

from assets import indicators, macdv
from livermore_dagster.audit.cell import Cell
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.context import ExchangeContext, open_context
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.series_macdv import macdv_points
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.postgres.indicators import read_indicators
from livermore_dagster.stores.postgres.standard_indicators import read_standard_indicators
from tests.integration.ingest.played import Platform

ID = 2
M15 = Timeframe.M15
B = 1_767_657_600_000
SYMBOL = "BTCUSDT"


@pytest.fixture
async def ctx(redis_url: str, database_url: str) -> AsyncIterator[ExchangeContext]:
    """Of an exchange that nobody asks anything."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await upsert_rows(connection, ROWS)
    async with open_context("binance", Platform(redis_url, database_url, {})) as opened:
        yield opened


def cell(
    ctx: ExchangeContext, boundary_ms: int, *, by_hand: bool = False, symbols: Sequence[str] = (SYMBOL,)
) -> Cell:
    return Cell(ctx, M15, symbols, boundary_ms, by_hand)


def series(first: int, until: int, *, observed_each: int = 1, symbol: str = SYMBOL) -> list[StampedCandle]:
    """Bars [first, until) counted from B; one in `observed_each` traded, the others are fillers."""
    made, close = [], 100.0
    for i in range(first, until):
        open_ms = B + i * M15.ms
        traded = i % observed_each == 0
        close = 100.0 + (i * 7919 % 101) / 50 if traded else close
        high, low = (close + 1, close - 1) if traded else (close, close)
        volume = str(1 + i % 5) if traded else "0"
        candle = Candle(open_ms, f"{close}", f"{high}", f"{low}", f"{close}", volume)
        made.append(StampedCandle(symbol, M15, candle, Rank.FINAL, open_ms + M15.ms + 1, Origin.BACKFILL, 1))
    return made


async def stored(ctx: ExchangeContext) -> dict[int, dict[str, float | None]]:
    """The standard indicators' rows by bar, counted from B."""
    async with ctx.pool.connection() as connection:
        held = await read_standard_indicators(connection, ID, SYMBOL, M15, 0)
    return {(open_ms - B) // M15.ms: row for open_ms, row in held.items()}


@pytest.mark.parametrize(("missed", "rows_lack"), [(100, False), (700, True)])
async def test_obv_goes_on_over_an_absence_and_a_short_one_leaves_no_rows_out(
    ctx: ExchangeContext, monkeypatch: pytest.MonkeyPatch, missed: int, rows_lack: bool
) -> None:
    monkeypatch.setattr(indicators, "PAGE_BARS", 50)
    candles = series(-420, missed)
    await ctx.table.upsert(ID, candles[:420])
    await indicators._recompute(cell(ctx, B))
    await ctx.table.upsert(ID, candles[420:])
    await indicators._recompute(cell(ctx, B + missed * M15.ms))
    obv = {bar: row["obv"] for bar, row in (await stored(ctx)).items()}
    assert (len(obv) < 60 + missed) is rows_lack
    true = {-420: 0.0}
    for before, after in pairwise(candles):
        bar = (after.candle.open_ms - B) // M15.ms
        sign = -1 if float(after.candle.close) < float(before.candle.close) else 1
        true[bar] = true[bar - 1] + sign * float(after.candle.volume)
    differences = {bar: value - true[bar] for bar, value in obv.items() if value is not None}
    assert len(differences) == len(obv)
    assert max(differences.values()) - min(differences.values()) < 1e-6


async def test_a_value_once_known_outlives_a_window_that_begins_later(ctx: ExchangeContext) -> None:
    candles = series(-100, 0)
    await ctx.table.upsert(ID, candles)
    await indicators._recompute(cell(ctx, B))
    before = await stored(ctx)
    async with ctx.pool.connection() as connection:
        # What is kept begins later now, and every candle that is left has been corrected.
        await connection.execute("DELETE FROM candles WHERE open_ms < %s", (B - 20 * M15.ms,))
        await connection.execute("UPDATE candles SET close = close + 0.5")
    await indicators._recompute(cell(ctx, B))
    after = await stored(ctx)
    assert after[-1]["ema_9"] != before[-1]["ema_9"]
    assert [row["sma_50"] for row in after.values()] == [row["sma_50"] for row in before.values()]
    assert before[-1]["sma_50"] is not None


async def test_a_cell_is_stored_as_a_whole_and_told_by_rank(ctx: ExchangeContext) -> None:
    symbols = ["ZECUSDT", "BTCUSDT", "NONE", "ADAUSDT"]
    for symbol in symbols:
        if symbol != "NONE":
            await ctx.table.upsert(ID, series(-70, 0, symbol=symbol))
    told = await indicators._recompute(cell(ctx, B, symbols=symbols))
    assert [record.data["symbol"] for record in told["symbols"].records] == ["ZECUSDT", "BTCUSDT", "ADAUSDT"]
    assert (told["rows new or changed"], told["symbols without candles"]) == (210, 1)
    async with ctx.pool.connection() as connection:
        stored_symbols = await connection.execute("SELECT DISTINCT symbol FROM standard_indicators")
        assert len(await stored_symbols.fetchall()) == 3


@pytest.mark.parametrize("observed_each", [1, 10])
async def test_macdv_in_batch_is_that_of_the_whole_series_however_seldom_it_trades(
    ctx: ExchangeContext, observed_each: int
) -> None:
    candles = series(-8_000, 0, observed_each=observed_each)
    await ctx.table.upsert(ID, candles)
    told = await macdv._fill(cell(ctx, B))
    whole = {one.open_ms: one for one in macdv_points(candles, M15)}
    async with ctx.pool.connection() as connection:
        rows = await read_indicators(connection, ID, SYMBOL, M15, limit=None)
    assert len(rows) == told["values added in batch"] > 0
    assert rows[-1].open_ms == max(whole)
    assert not rows[-1].warming
    for row in rows:
        assert row.macdv == pytest.approx(whole[row.open_ms].macdv, abs=1e-6)
        assert row.signal == pytest.approx(whole[row.open_ms].signal, abs=1e-6)
    again = await macdv._fill(cell(ctx, B))
    assert again["values added in batch"] == 0


async def test_macdv_of_a_young_series_begins_with_it(ctx: ExchangeContext) -> None:
    candles = series(-100, 0)
    await ctx.table.upsert(ID, candles)
    await macdv._fill(cell(ctx, B))
    async with ctx.pool.connection() as connection:
        rows = await read_indicators(connection, ID, SYMBOL, M15, limit=None)
    assert {row.seed_open_ms for row in rows} == {candles[0].candle.open_ms}
    assert rows[-1].n_eff == 100


async def test_macdv_of_a_history_that_came_later_is_computed_anew_by_hand(ctx: ExchangeContext) -> None:
    candles = series(-500, 0)
    await ctx.table.upsert(ID, candles[-50:])
    young = await macdv._fill(cell(ctx, B))
    same = await macdv._fill(cell(ctx, B, by_hand=True))
    await ctx.table.upsert(ID, candles)
    grown = await macdv._fill(cell(ctx, B, by_hand=True))
    told = [(one["values added in batch"], one["symbols with a value"]) for one in (young, same, grown)]
    assert told == [(50, 0), (0, 0), (301, 1)]
    async with ctx.pool.connection() as connection:
        rows = await read_indicators(connection, ID, SYMBOL, M15, limit=None)
    assert {row.seed_open_ms for row in rows} == {candles[0].candle.open_ms}
