"""The audit of each full hour: it begins where the last completed one ended; many are made up in parts."""

from __future__ import annotations

from dataclasses import replace

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.exchange_candles import matches_exchange
from livermore_dagster.audit.verdict import Verdict
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import Span
from livermore_dagster.stores.redis.audits import LEASE_S, begin_audited, note_audited, only_audit

__all__ = ["due_from", "hourly_audit", "most_made_up"]

_PAGE_BARS = 300
"""One request per series, on any exchange …"""
_MADE_UP_MS = Timeframe.D1.ms
"""… or a day, which takes a few of 1m: one an hour, so that the run after a night off is little longer."""

PATIENCE_S = LEASE_S + 1.0
"""A run that follows a killed one finds its lock: so long that may last."""


def most_made_up(timeframe: Timeframe) -> int:
    """Milliseconds of missed audits that are made up for; what is older is left to a person."""
    return max(_PAGE_BARS * timeframe.ms, _MADE_UP_MS)


def due_from(timeframe: Timeframe, boundary_ms: int) -> int:
    """Open (ms) of the first candle that the audit at a boundary owes: of the last settled hour, or bar where
    that is longer. The newest candle is not owed: exchanges still settle it."""
    newest_open_ms = timeframe.open_of(boundary_ms) - timeframe.ms
    return timeframe.open_of(newest_open_ms - max(Timeframe.H1.ms, timeframe.ms))


async def hourly_audit(cell: Cell) -> Verdict:
    """`_audit`, unless it is under way, such as by hand."""
    async with only_audit(cell.ctx.redis, cell.ctx.row.id, cell.timeframe, PATIENCE_S) as alone:
        if alone:
            begun_s = cell.ctx.clock.monotonic()
            verdict = await _audit(cell)
            took_s = round(cell.ctx.clock.monotonic() - begun_s)
            return replace(verdict, numbers={**verdict.numbers, "seconds taken": took_s})
    return Verdict(True, {"candles compared": 0, "left to": "another run, which compares them just now"})


async def _audit(cell: Cell) -> Verdict:
    """The last settled hour (or bar, where that is longer), and then of what no audit has compared yet the
    oldest 300 bars at most: what is left the next ones make up.

    Only a completed one moves the mark on; repeating one changes nothing. One the exchange cut short is a
    failed verdict and no failed run: to try again at once is what an exchange that is away, or has closed the
    budget, needs least, and the next hour asks for all of it.
    """
    timeframe, end_ms = cell.timeframe, cell.newest_open_ms
    redis, exchange_id = cell.ctx.redis, cell.ctx.row.id
    regular_ms = due_from(timeframe, cell.boundary_ms)
    missed_ms = min(regular_ms, await begin_audited(redis, exchange_id, timeframe, regular_ms))
    from_ms = max(missed_ms, timeframe.open_of(end_ms - most_made_up(timeframe)))
    page_ms = _PAGE_BARS * timeframe.ms
    made_up = Span(from_ms, min(from_ms + page_ms, regular_ms)) if end_ms - from_ms > page_ms else None
    verdict = await matches_exchange(cell, from_ms if made_up is None else regular_ms, made_up=made_up)
    left_ms = regular_ms if made_up is None else made_up.to_ms
    if verdict.complete:
        await note_audited(redis, exchange_id, timeframe, end_ms if left_ms == regular_ms else left_ms)
    numbers = dict(verdict.numbers)
    if left_ms < regular_ms:
        numbers["still to be made up (UTC)"] = (
            f"{utc_text(left_ms)} to {utc_text(regular_ms)}, by the next ones"
        )
    if missed_ms < from_ms:
        command = (
            f"livermore audit {cell.ctx.row.name} --timeframes {timeframe.value} --since {_iso(missed_ms)}"
        )
        numbers["not audited (UTC)"] = (
            f"{utc_text(missed_ms)} to {utc_text(from_ms)}, too long ago: {command}"
        )
    return replace(verdict, numbers=numbers)


def _iso(at_ms: int) -> str:
    return utc_text(at_ms).replace(" ", "T") + "Z"
