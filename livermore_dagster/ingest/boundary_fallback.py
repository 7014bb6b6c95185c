"""A boundary fetched by the live service itself, where no run has: tried again for what failed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.fetch import FetchReport, fetch_due, late_series
from livermore_dagster.ingest.repair import RepairQueue
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["BoundaryFallback"]

log = structlog.get_logger(__name__)


class BoundaryFallback:
    """What BoundaryRaiser does at a boundary that nobody has fetched in time, and after each that was."""

    def __init__(
        self, ctx: ExchangeContext, repairs: RepairQueue, symbols: Callable[[], Sequence[str]]
    ) -> None:
        """`symbols`: those monitored, in rank order."""
        self.partial: FetchReport | None = None
        """Of the last try at a boundary, if series failed."""
        self._ctx = ctx
        self._repairs = repairs
        self._symbols = symbols

    async def fetch(self, boundary_ms: int, timeframes: Sequence[Timeframe]) -> None:
        """Raises when a series failed; the next try at the same boundary asks only for those."""
        before, self.partial = self.partial, None
        if before is not None and before.boundary_ms != boundary_ms:
            before = None
        report = await fetch_due(self._ctx, boundary_ms, timeframes, self._symbols(), before=before)
        log.info("boundary_fetched", boundary_ms=boundary_ms, **report.counts())
        if (failure := report.failure()) is not None:
            self.partial = report
            raise failure

    def leave_failed(self, boundary_ms: int) -> bool:
        """Leaves a few failed series' due bars to repair; False where the boundary has to stay due."""
        partial = self.partial
        if partial is None or partial.boundary_ms != boundary_ms or partial.stays_due:
            return False
        for one in partial.failed:
            due_ms = one.timeframe.open_of(boundary_ms) - one.timeframe.ms
            self._repairs.look_again(one.symbol, one.timeframe, due_ms)
        return True

    async def look_for_late_rows(self, boundary_ms: int, timeframes: Sequence[Timeframe]) -> None:
        """Rows later than any fetch waits for: a 1d one would be asked for again a day later."""
        for late in await late_series(self._ctx, boundary_ms, timeframes, self._symbols()):
            self._repairs.look_again(*late)
