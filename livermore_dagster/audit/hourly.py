"""The audit of each full hour: it begins where the last completed one ended, so that none is ever missed."""

from __future__ import annotations

from dataclasses import replace

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.exchange_candles import matches_exchange
from livermore_dagster.audit.verdict import Verdict
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.audits import begin_audited, note_audited

__all__ = ["hourly_audit", "most_made_up"]

_MADE_UP_BARS = 300
"""One request per series, on any exchange …"""
_MADE_UP_MS = Timeframe.D1.ms
"""… or a day, which takes a few of 1m."""


def most_made_up(timeframe: Timeframe) -> int:
    """Milliseconds of missed audits that the next one makes up; what is older is left to a person."""
    return max(_MADE_UP_BARS * timeframe.ms, _MADE_UP_MS)


async def hourly_audit(cell: Cell) -> Verdict:
    """The last settled hour (or bar, where that is longer), and before it all that no audit has compared yet.

    Only a completed one moves the mark on; repeating one changes nothing. One the exchange cut short is a
    failed verdict and no failed run: to try again at once is what an exchange that is away, or has closed the
    budget, needs least, and the next hour asks for all of it.
    """
    timeframe, end_ms = cell.timeframe, cell.newest_open_ms
    redis, exchange_id = cell.ctx.redis, cell.ctx.row.id
    regular_ms = timeframe.open_of(end_ms - max(Timeframe.H1.ms, timeframe.ms))
    missed_ms = min(regular_ms, await begin_audited(redis, exchange_id, timeframe, regular_ms))
    from_ms = max(missed_ms, timeframe.open_of(end_ms - most_made_up(timeframe)))
    verdict = await matches_exchange(cell, from_ms)
    if verdict.complete:
        await note_audited(redis, exchange_id, timeframe, end_ms)
    if missed_ms == from_ms:
        return verdict
    command = f"livermore audit {cell.ctx.row.name} --timeframes {timeframe.value} --since {_iso(missed_ms)}"
    left_out = f"{utc_text(missed_ms)} to {utc_text(from_ms)}, too long ago: {command}"
    return replace(verdict, numbers={**verdict.numbers, "not audited (UTC)": left_out})


def _iso(at_ms: int) -> str:
    return utc_text(at_ms).replace(" ", "T") + "Z"
