"""The hourly audit makes up for those that could not be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest

from livermore_dagster.audit import exchange_candles, hourly
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.cells import open_cell
from livermore_dagster.audit.exchange_candles import matches_exchange
from livermore_dagster.audit.hourly import hourly_audit, most_made_up
from livermore_dagster.errors import ExchangeError
from livermore_dagster.ingest.backfill import backfill
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.selection import tell_monitored
from livermore_dagster.ingest.warmup import warm_up
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import UpsertCounts
from livermore_dagster.stores.redis import audits, keys
from livermore_dagster.stores.redis.audits import only_audit
from tests.integration.ingest.played import IDS, Platform, played

START_MS = 1_767_655_800_000
SYMBOLS = ["BTC-USD", "ETH-USD"]
M1, M5, H1 = Timeframe.M1, Timeframe.M5, Timeframe.H1
EXCHANGE = IDS["coinbase"]


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["coinbase"], 1.0, START_MS) as platform:
        yield platform


@pytest.fixture
async def cell(market: Platform) -> AsyncIterator[Cell]:
    """5m candles up to the newest full hour, stored and whole."""
    async with open_context("coinbase", market) as ctx:
        await warm_up(ctx, SYMBOLS, timeframes=[M5])
        for symbol in SYMBOLS:
            await ctx.table.upsert(ctx.row.id, await ctx.cache.read(symbol, M5))
        await tell_monitored(ctx, SYMBOLS, [])
        yield await open_cell(ctx, M5, H1.open_of(market.market_now("coinbase")))


def hours_before(cell: Cell, hours: int) -> Cell:
    return replace(cell, boundary_ms=cell.boundary_ms - hours * H1.ms)


def tamper(market: Platform, symbol: str, open_ms: int, timeframe: Timeframe = M5) -> None:
    with market.redis() as client:
        client.zremrangebyscore(keys.candles(EXCHANGE, symbol, timeframe), open_ms, open_ms)
    market.execute(
        "UPDATE candles SET close = high + 1 WHERE symbol = %s AND timeframe = %s AND open_ms = %s",
        symbol,
        timeframe.value,
        open_ms,
    )


def mark(market: Platform, timeframe: Timeframe = M5) -> int:
    with market.redis() as client:
        return int(client.hget(keys.audited(EXCHANGE), timeframe.value) or 0)


async def test_hours_that_no_audit_saw_are_audited_by_the_next(market: Platform, cell: Cell) -> None:
    first = hours_before(cell, 3)
    assert (await hourly_audit(first)).passed
    assert mark(market) == first.newest_open_ms
    wrong = cell.boundary_ms - 2 * H1.ms
    tamper(market, SYMBOLS[1], wrong)
    verdict = await hourly_audit(cell)
    assert [row["symbol"] for row in verdict.rows] == [SYMBOLS[1]]
    assert market.differences("coinbase", [M5], wrong, cell.boundary_ms) == []
    assert mark(market) == cell.newest_open_ms
    # One that comes late, of an older boundary, takes nothing back.
    assert (await hourly_audit(first)).passed
    assert mark(market) == cell.newest_open_ms


async def test_an_audit_the_exchange_cut_short_is_made_up(
    market: Platform, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_candles, "AT_ONCE", 1)
    first = hours_before(cell, 2)
    closed = {"kind": "rate_limit", "endpoint": "candles", "count": 1}
    market.fault("coinbase", **closed)
    verdict = await hourly_audit(first)
    assert (verdict.passed, verdict.complete) == (False, False)
    assert verdict.numbers["symbols not asked"] == 2
    assert "429" in str(verdict.numbers["ended early"])
    assert mark(market) < first.newest_open_ms - 11 * M5.ms, "nothing of it counts as compared"
    tamper(market, SYMBOLS[0], first.boundary_ms - 4 * M5.ms)
    with market.redis() as client:
        client.delete(keys.budget(EXCHANGE))  # the five seconds it is closed for are over
    assert [row["symbol"] for row in (await hourly_audit(cell)).rows] == [SYMBOLS[0]]
    assert mark(market) == cell.newest_open_ms


async def test_what_another_run_compares_just_now_is_left_to_it(
    market: Platform, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hourly, "PATIENCE_S", 0.0)
    async with only_audit(cell.ctx.redis, EXCHANGE, M5) as alone:
        assert alone
        verdict = await hourly_audit(cell)
        assert (verdict.passed, verdict.numbers["candles compared"]) == (True, 0)
        assert mark(market) == 0
    assert (await hourly_audit(cell)).passed
    assert mark(market) == cell.newest_open_ms


async def test_a_long_audit_stays_alone_and_a_dead_ones_lock_is_waited_for(
    market: Platform, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as a busy machine may stand still.
    monkeypatch.setattr(audits, "LEASE_S", 3.0)
    monkeypatch.setattr(audits, "_RENEW_S", 0.2)
    client = cell.ctx.redis
    async with only_audit(client, EXCHANGE, M5), only_audit(client, EXCHANGE, M5, 4.0) as second:
        assert not second, "a lease later it is still the first one's"
    with market.redis() as dead:
        dead.set(keys.auditing(EXCHANGE, M5.value), "of a run that was killed", px=1_000)
    async with only_audit(client, EXCHANGE, M5, 60.0) as alone:
        assert alone


async def test_a_symbol_the_exchange_lists_no_more_holds_up_no_other(market: Platform, cell: Cell) -> None:
    wrong = cell.boundary_ms - 4 * M5.ms
    tamper(market, SYMBOLS[1], wrong)
    verdict = await hourly_audit(replace(cell, symbols=["GONE-USD", *SYMBOLS]))
    assert [(row["symbol"], row["field"]) for row in verdict.rows] == [
        ("GONE-USD", "request"), (SYMBOLS[1], "close"),
    ]  # fmt: skip
    assert not verdict.passed
    assert verdict.numbers["symbols not asked"] == 1
    assert market.differences("coinbase", [M5], wrong, cell.boundary_ms) == []
    assert mark(market) == cell.newest_open_ms, "one that is gone is no reason to ask for the others again"
    with market.redis() as client:
        doubts = [fields for _, fields in client.xrange(keys.symbol_events(EXCHANGE))]
    assert [fields["symbol"] for fields in doubts if fields["kind"] == "doubt"] == ["GONE-USD"]


async def test_what_was_missed_for_too_long_is_left_to_a_person(market: Platform, cell: Cell) -> None:
    with market.redis() as client:
        client.hset(keys.audited(EXCHANGE), "5m", cell.newest_open_ms - most_made_up(M5) - 3 * H1.ms)
    numbers = (await hourly_audit(cell)).numbers
    assert numbers["candles compared"] == 2 * (most_made_up(M5) // M5.ms - 1), "no more are held"
    assert numbers["not audited (UTC)"] == (
        "2026-01-04 18:55 to 2026-01-04 21:55, too long ago: "
        "livermore audit coinbase --timeframes 5m --since 2026-01-04T18:55Z"
    )
    assert "not audited (UTC)" not in (await hourly_audit(cell)).numbers


async def test_a_night_is_made_up_in_parts_and_the_newest_hour_waits_for_none(
    market: Platform, cell: Cell
) -> None:
    ctx, symbol = cell.ctx, SYMBOLS[0]
    night = replace(cell, timeframe=M1, symbols=[symbol])
    end_ms = night.newest_open_ms
    missed_ms = end_ms - 8 * H1.ms
    await backfill(ctx, [symbol], [M1], missed_ms, until_ms=night.boundary_ms)
    await ctx.table.upsert(ctx.row.id, await ctx.cache.read(symbol, M1))
    with market.redis() as client:
        client.hset(keys.audited(EXCHANGE), M1.value, missed_ms)
    oldest, later, newest = missed_ms + 2 * M1.ms, end_ms - 2 * H1.ms, end_ms - 5 * M1.ms
    for open_ms in (oldest, later, newest):
        tamper(market, symbol, open_ms, M1)

    verdict = await hourly_audit(night)
    assert {row["open (UTC)"] for row in verdict.rows} == {utc_text(oldest), utc_text(newest)}
    assert (verdict.numbers["now repaired"], verdict.numbers["requests used"]) == (2, 2)
    assert mark(market, M1) == missed_ms + 5 * H1.ms
    assert verdict.numbers["still to be made up (UTC)"] == (
        f"{utc_text(missed_ms + 5 * H1.ms)} to {utc_text(end_ms - H1.ms)}, by the next ones"
    )
    verdict = await hourly_audit(night)
    assert [row["open (UTC)"] for row in verdict.rows] == [utc_text(later)]
    assert "still to be made up (UTC)" not in verdict.numbers
    assert mark(market, M1) == end_ms
    assert market.query("SELECT count(*) FROM candles WHERE close > high") == [(0,)]


async def test_a_part_of_a_night_that_was_cut_short_is_asked_for_again(
    market: Platform, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = replace(cell, timeframe=M1, symbols=SYMBOLS[:1])
    missed_ms = night.newest_open_ms - 8 * H1.ms
    await backfill(cell.ctx, SYMBOLS[:1], [M1], missed_ms, until_ms=night.boundary_ms)
    with market.redis() as client:
        client.hset(keys.audited(EXCHANGE), M1.value, missed_ms)
    asked: list[str] = []

    def fails_at_the_second(symbol: str) -> None:
        asked.append(symbol)
        if len(asked) == 2:
            raise ExchangeError("no answer")

    monkeypatch.setattr(hourly, "matches_exchange", partial(matches_exchange, on_page=fails_at_the_second))
    verdict = await hourly_audit(night)
    assert (verdict.complete, verdict.numbers["symbols not asked"]) == (False, 1)
    assert verdict.numbers["candles compared"] == 360, "the newest hour comes before the rest"
    assert mark(market, M1) == missed_ms


async def test_the_store_is_brought_up_one_series_at_a_time(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of symbols in one statement would hold all their rows, and the store writer, for long."""
    upsert, stored = cell.ctx.table.upsert, []

    async def watched(exchange_id: int, batch: Sequence[StampedCandle]) -> UpsertCounts:
        stored.append({one.symbol for one in batch})
        return await upsert(exchange_id, batch)

    monkeypatch.setattr(cell.ctx.table, "upsert", watched)
    assert (await hourly_audit(cell)).passed
    assert sorted(stored, key=str) == [{symbol} for symbol in SYMBOLS]
