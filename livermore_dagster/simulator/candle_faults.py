"""What REST's candles look like while faults concern them."""

from __future__ import annotations

from aiohttp import web

from livermore_dagster.simulator.bars import Bar
from livermore_dagster.simulator.faults import FaultBoard, FaultKind
from livermore_dagster.simulator.market import MINUTE_MS
from livermore_dagster.simulator.venue import INTERVALS, Venue

__all__ = ["STALE_MS", "CandlesUnderFaults"]

STALE_MS = web.RequestKey("stale_ms", int)
"""How old the page is that answers a request, in market ms."""
_NAMES = {minutes: name for name, minutes in INTERVALS.items()}


class CandlesUnderFaults:
    """One symbol's rows of one length, as the active faults let REST show them."""

    def __init__(self, venue: Venue, faults: FaultBoard, symbol: str, minutes: int) -> None:
        self.venue, self.faults, self.symbol, self.minutes = venue, faults, symbol, minutes
        self._aim = {"symbol": symbol, "timeframe": _NAMES[minutes], "endpoint": "candles"}

    def rows(self, request: web.Request, start_ms: int, end_ms: int, now_ms: int) -> list[Bar]:
        stale = self.faults.strike(FaultKind.STALE_PAGE, **self._aim)
        if stale is not None:
            request[STALE_MS] = int(stale.own["stale_ms"])
            now_ms -= request[STALE_MS]
        rows = self._filled(start_ms, end_ms, now_ms)
        # Whatever the grid: the newest row of a closed bar, and the open one after it.
        closed = [row for row in rows if self.venue.end_of(self.minutes, row.open_ms, self.symbol) <= now_ms]
        opened = rows[len(closed) :]
        if opened and self.faults.strike(FaultKind.NO_OPEN_ROW, **self._aim):
            opened = []
        young = self._young(FaultKind.LATE_ROW, closed, now_ms)
        if young:
            self.faults.strike(FaultKind.LATE_ROW, **self._aim)
            closed = closed[: len(closed) - young]
        return [*self._provisional(closed, now_ms), *opened]

    def _filled(self, start_ms: int, end_ms: int, now_ms: int) -> list[Bar]:
        swap = self.faults.find(FaultKind.SWAP_FILLERS, **self._aim)
        rows = self.venue.rows(self.symbol, self.minutes, start_ms, end_ms, now_ms)
        if swap is None:
            return rows
        fills = not self.venue.fills
        swapped = self.venue.rows(self.symbol, self.minutes, start_ms, end_ms, now_ms, fills=fills)
        if len(swapped) != len(rows):
            self.faults.note(swap)
        return swapped

    def _young(self, kind: FaultKind, closed: list[Bar], now_ms: int) -> int:
        """How many of the newest closed rows such a fault concerns now."""
        fault = self.faults.find(kind, **self._aim)
        if fault is None or not closed:
            return 0
        ends = [self.venue.end_of(self.minutes, row.open_ms, self.symbol) for row in closed[-50:]]
        settle_ms = fault.own["settle_ms"]
        if settle_ms is None:
            return int(ends[-1] > now_ms - self.minutes * MINUTE_MS)
        return sum(now_ms - end < settle_ms for end in ends)

    def _provisional(self, closed: list[Bar], now_ms: int) -> list[Bar]:
        young = self._young(FaultKind.REVISE, closed, now_ms)
        if not young:
            return closed
        shown = [self.venue.provisional(self.symbol, self.minutes, row) or row for row in closed[-young:]]
        if shown != closed[-young:]:
            self.faults.strike(FaultKind.REVISE, **self._aim)
        return [*closed[:-young], *shown]
