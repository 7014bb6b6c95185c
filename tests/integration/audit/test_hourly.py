"""The hourly audit makes up for those that could not be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from livermore_dagster.audit import exchange_candles
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.cells import open_cell
from livermore_dagster.audit.hourly import hourly_audit, most_made_up
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.selection import tell_monitored
from livermore_dagster.ingest.warmup import warm_up
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from tests.integration.ingest.played import IDS, Platform, played

START_MS = 1_767_655_800_000
SYMBOLS = ["BTC-USD", "ETH-USD"]
M5, H1 = Timeframe.M5, Timeframe.H1
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


def tamper(market: Platform, symbol: str, open_ms: int) -> None:
    with market.redis() as client:
        client.zremrangebyscore(keys.candles(EXCHANGE, symbol, M5), open_ms, open_ms)
    market.execute(
        "UPDATE candles SET close = high + 1 WHERE symbol = %s AND timeframe = '5m' AND open_ms = %s",
        symbol,
        open_ms,
    )


def mark(market: Platform) -> int:
    with market.redis() as client:
        return int(client.hget(keys.audited(EXCHANGE), "5m") or 0)


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
