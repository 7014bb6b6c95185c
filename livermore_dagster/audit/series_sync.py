"""Brings PostgreSQL up to the candle cache, and finds what both lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.cells import instance_of
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.moments import utc_text
from livermore_dagster.stores.postgres.candles import Span, UpsertCounts
from livermore_dagster.stores.redis import keys

__all__ = [
    "WINDOW_BARS",
    "SyncReport",
    "find_gaps",
    "flowing_settled",
    "held_since",
    "judged_until",
    "never_held",
    "settled_until",
    "sync_from_cache",
]

WINDOW_BARS = 300
"""What is verified by hand: the bars a MACD-V needs to have forgotten its seed."""


@dataclass(slots=True)
class SyncReport:
    """`added`: candles PostgreSQL lacked, such as those just closed; `changed`: those it held with other
    values. `cached`: cached candles by symbol, oldest first."""

    compared: int = 0
    added: int = 0
    changed: int = 0
    cached: dict[str, list[StampedCandle]] = field(default_factory=dict)


async def settled_until(cell: Cell) -> int:
    """Exchange-clock ms up to which the cell may be judged: a bar still being proven is no gap."""
    return judged_until(cell, await flowing_settled(cell) if cell.streamed else None)


def judged_until(cell: Cell, settled_ms: int | None) -> int:
    """`settled_until`, of what `flowing_settled` said."""
    return cell.boundary_ms if settled_ms is None or not cell.streamed else min(cell.boundary_ms, settled_ms)


async def flowing_settled(cell: Cell) -> int | None:
    """Up to when (ms) the running instance has settled all it streams; None where none runs, or none yet."""
    text = await cell.ctx.redis.get(keys.settled(cell.ctx.row.id))
    instance = await instance_of(cell.ctx)
    return int(text) if text and instance is not None and instance.flowing else None


async def sync_from_cache(cell: Cell, bars: int) -> SyncReport:
    """Store the newest `bars` cached finals of every symbol that PostgreSQL lacks or holds at a lower
    rank."""
    cached = await cell.ctx.cache.read_many(cell.symbols, cell.timeframe, bars, until_ms=cell.boundary_ms)
    batch = [candle for candles in cached.values() for candle in candles]
    counts = await cell.ctx.table.upsert(cell.ctx.row.id, batch) if batch else UpsertCounts()
    return SyncReport(len(batch), counts.inserted, counts.changed, cached)


async def held_since(cell: Cell, from_ms: int) -> dict[str, int]:
    """Where (ms) judging each series may begin at or after `from_ms`: at its oldest candle here, but with the
    newest WINDOW_BARS at the latest. A history that nobody fetched lacks nothing."""
    facts = await cell.ctx.table.facts(cell.ctx.row.id, cell.judged, cell.timeframe, count_to=1)
    oldest = {one.symbol: one.first_open_ms for one in facts}
    window_ms = cell.bars_before(WINDOW_BARS)
    return {
        symbol: max(from_ms, min(window_ms, cell.timeframe.open_of(oldest.get(symbol, window_ms))))
        for symbol in cell.judged
    }


def never_held(begins: Mapping[str, int], from_ms: int) -> str:
    """For people, of `held_since`: what lies before the series here; '' where nothing does."""
    later = [begin_ms for begin_ms in begins.values() if begin_ms > from_ms]
    if not later:
        return ""
    return f"{utc_text(from_ms)} to {utc_text(max(later))}, of {len(later)} symbols: livermore backfill"


async def find_gaps(
    cell: Cell, symbols: Sequence[str], start_ms: int | Mapping[str, int]
) -> dict[str, list[Span]]:
    """Settled buckets from `start_ms` on, or each symbol's, that neither PostgreSQL nor the ledger accounts
    for."""
    end_ms = cell.timeframe.open_of(await settled_until(cell))
    found: dict[str, list[Span]] = {}
    for symbol in symbols:
        begin_ms = start_ms if isinstance(start_ms, int) else start_ms[symbol]
        spans = await cell.ctx.table.gaps(cell.ctx.row.id, symbol, cell.timeframe, begin_ms, end_ms)
        if spans:
            found[symbol] = spans
    return found
