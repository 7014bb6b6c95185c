"""The audit that asks the exchange: stored candles against its own, under its budget, and repaired."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.series_sync import held_since, never_held, sync_from_cache
from livermore_dagster.audit.verdict import Row, Verdict
from livermore_dagster.errors import ExchangeError
from livermore_dagster.exchanges.client import CandlePage
from livermore_dagster.exchanges.contract import Priority, RestCandle
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.intake import no_such_symbol, store_candles
from livermore_dagster.ingest.together import together
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import Span
from livermore_dagster.stores.redis.metrics import count, incident
from livermore_dagster.stores.redis.symbol_events import doubt_symbol

__all__ = ["matches_exchange", "pages_of"]

log = structlog.get_logger(__name__)

CACHED_BARS = 1_000
AT_ONCE = 4
"""Symbols asked at the same time: the budget sets the pace, this covers the requests' latency."""
ROWS_KEPT = 1_000
"""Of what is found wrong, one by one; the numbers count all of it. A history may be wrong throughout."""


@dataclass(slots=True)
class _Comparison:
    compared: int = 0
    requests: int = 0
    missing: int = 0
    differed: int = 0
    repaired: int = 0
    """Of both: candles that are held as the exchange gives them now."""
    foreign: int = 0
    """Candles that are stored and that the exchange does not give."""
    not_asked: set[str] = field(default_factory=set)
    """Symbols not compared to the end."""
    ended_by: str = ""
    """Why the exchange could be asked no further."""
    rows: list[Row] = field(default_factory=list)

    def note(self, row: Row) -> None:
        if len(self.rows) < ROWS_KEPT:
            self.rows.append(row)


async def pages_of(cell: Cell, from_ms: int) -> int:
    """Requests that `matches_exchange` will take."""
    begins = await held_since(cell, from_ms)
    bars = [(cell.newest_open_ms - begin_ms) // cell.timeframe.ms for begin_ms in begins.values()]
    return sum(-(-count // cell.ctx.quirks.rest_rows) for count in bars)


async def matches_exchange(
    cell: Cell,
    from_ms: int,
    on_page: Callable[[str], None] | None = None,
    *,
    made_up: Span | None = None,
) -> Verdict:
    """Candles that open in [`from_ms`, newest of the cell) equal what REST gives for them now, and when that
    is done, those of `made_up`, which lies before; of a series that begins later here, from there on: what
    was never held is no difference.

    The newest one is left out: exchanges still settle it. What differs or is missing here is written under
    the cache's rule, so that it enters the flow as any revision does; what only we hold is told and kept.
    A symbol the exchange refuses is doubted and holds up no other; an exchange that cannot be asked ends it,
    incomplete. `on_page(symbol)` after each request.
    """
    newest = Span(from_ms, cell.newest_open_ms)
    oldest_ms = newest.from_ms if made_up is None else made_up.from_ms
    begins = await held_since(cell, oldest_ms)
    found = _Comparison()
    try:
        await _compare_all(cell, begins, newest, found, on_page)
        if made_up is not None:
            await _compare_all(cell, begins, made_up, found, on_page)
    finally:
        if found.repaired:
            await _tell(cell, found)
    numbers: dict[str, str | int] = {
        "window (UTC)": _words(newest),
        "candles compared": found.compared,
        "candles that differed": found.differed,
        "candles missing here": found.missing,
        "now repaired": found.repaired,
        "candles the exchange does not have": found.foreign,
        "symbols not asked": len(found.not_asked),
        "requests used": found.requests,
    }
    if made_up is not None:
        numbers["made up for (UTC)"] = _words(made_up)
    if left := found.differed + found.missing - found.repaired:
        numbers["not taken, for what is held is newer"] = left
    if later := never_held(begins, oldest_ms):
        numbers["never held (UTC)"] = later
    if found.ended_by:
        numbers["ended early"] = found.ended_by
    return Verdict(
        not found.rows and not found.ended_by, numbers, rows=found.rows, complete=not found.ended_by
    )


async def _compare_all(
    cell: Cell,
    begins: Mapping[str, int],
    span: Span,
    found: _Comparison,
    on_page: Callable[[str], None] | None,
) -> None:
    """Begins with no further symbol once the exchange cannot be asked; those under way come to their end."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(symbol: str, begin_ms: int) -> None:
        async with gate:
            if found.ended_by or symbol in found.not_asked:
                found.not_asked.add(symbol)
                return
            try:
                await _compare_series(cell, symbol, Span(begin_ms, span.to_ms), found, on_page)
            except ExchangeError as error:
                found.not_asked.add(symbol)
                if not no_such_symbol(error):
                    found.ended_by = error.message
                    return
                ctx = cell.ctx
                await doubt_symbol(ctx.redis, ctx.row.id, symbol, error.message, ctx.clock.now_ms())
                found.note(_row(symbol, begin_ms, "request", "", error.message))

    held = {symbol: max(begin_ms, span.from_ms) for symbol, begin_ms in begins.items()}
    await together(one(symbol, begin_ms) for symbol, begin_ms in held.items() if begin_ms < span.to_ms)
    rank = {symbol: place for place, symbol in enumerate(begins)}
    found.rows.sort(key=lambda row: rank[str(row["symbol"])])


async def _compare_series(
    cell: Cell, symbol: str, span: Span, found: _Comparison, on_page: Callable[[str], None] | None
) -> None:
    """A page of the exchange's, and what is held of its span, at a time: history of any length."""
    # What the store writer has not come to yet is late, and no difference from the exchange.
    until_ms = span.to_ms + cell.timeframe.ms
    bars = min(CACHED_BARS, (until_ms - span.from_ms) // cell.timeframe.ms)
    await sync_from_cache(replace(cell, symbols=[symbol], boundary_ms=until_ms), bars)
    pages = cell.ctx.client.candle_pages(symbol, cell.timeframe, span.from_ms, span.to_ms, Priority.BROWSE)
    asked_ms = await cell.ctx.exchange_now(Priority.BROWSE)
    async for page in pages:
        found.requests += 1
        await _compare(cell, symbol, page, asked_ms, found)
        # Before the next page is asked for: a stamp of after its answer would call settled what was not.
        asked_ms = await cell.ctx.exchange_now(Priority.BROWSE)
        if on_page is not None:
            on_page(symbol)


async def _compare(cell: Cell, symbol: str, page: CandlePage, asked_ms: int, found: _Comparison) -> None:
    """`asked_ms`: a lower bound of the exchange's clock when the page was asked for."""
    stored = await cell.ctx.table.read(cell.ctx.row.id, symbol, cell.timeframe, page.start_ms, page.end_ms)
    held = {one.candle.open_ms: one.candle for one in stored}
    given = {row.candle.open_ms: row for row in page.rows}
    wrong: list[StampedCandle] = []
    for at in sorted({*held, *given}):
        row, ours = given.get(at), held.get(at)
        if row is None:
            found.foreign += 1
            found.note(_row(symbol, at, "candle", held[at].close, "absent"))
            continue
        found.compared += 1
        if ours != row.candle:
            found.missing += ours is None
            found.differed += ours is not None
            found.note(_row(symbol, at, *_difference(ours, row.candle)))
            wrong.append(_settled(cell, symbol, row, asked_ms))
    if wrong:
        found.repaired += await _repair(cell, symbol, page, wrong)


async def _repair(cell: Cell, symbol: str, page: CandlePage, wrong: Sequence[StampedCandle]) -> int:
    """How many of them are held now as they were given; what came by another way since is left as it is."""
    ctx = cell.ctx
    await store_candles(ctx, wrong)
    await ctx.table.upsert(ctx.row.id, wrong)
    stored = await ctx.table.read(ctx.row.id, symbol, cell.timeframe, page.start_ms, page.end_ms)
    held = {one.candle.open_ms: one.candle for one in stored}
    return sum(held.get(one.candle.open_ms) == one.candle for one in wrong)


async def _tell(cell: Cell, found: _Comparison) -> None:
    row = cell.ctx.row
    await count(cell.ctx.redis, row.id, "audit_differences", found.repaired)
    said = ((found.differed, "differed"), (found.missing, "were missing here"))
    words = " and ".join(f"{number} {what}" for number, what in said if number)
    text = f"Of {row.name}'s {cell.timeframe.value} candles {words}; repaired: {found.repaired}."
    log.warning("audit", exchange=row.name, text=text)
    await incident(cell.ctx.redis, IncidentName.AUDIT, row.id, text)


def _words(span: Span) -> str:
    return f"{utc_text(span.from_ms)} to {utc_text(span.to_ms)}"


def _row(symbol: str, at: int, name: str, stored: str, exchange: str) -> Row:
    return {
        "symbol": symbol,
        "open (UTC)": utc_text(at),
        "field": name,
        "stored": stored,
        "exchange": exchange,
    }


def _difference(ours: Candle | None, theirs: Candle) -> tuple[str, str, str]:
    """Name, stored and given value of the first field that differs."""
    if ours is None:
        return "candle", "absent", theirs.close
    names = ("open", "high", "low", "close", "volume")
    name = next(name for name in names if getattr(ours, name) != getattr(theirs, name))
    return name, getattr(ours, name), getattr(theirs, name)


def _settled(cell: Cell, symbol: str, row: RestCandle, asked_ms: int) -> StampedCandle:
    """What is older than the last hour, or bar, is history: stored and folded, and no news to anybody."""
    recent_ms = cell.newest_open_ms - max(Timeframe.H1.ms, cell.timeframe.ms)
    origin = Origin.REPAIR if row.candle.open_ms >= recent_ms else Origin.BACKFILL
    return StampedCandle(
        symbol, cell.timeframe, row.candle, Rank.SETTLED, asked_ms, origin, row.trades, asked_ms
    )
