"""What of the monitored symbols is warm: one warm-up at a time, and again what failed of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.selection import tell_warm
from livermore_dagster.ingest.warmup import WarmupReport, WarmupStats, publish, warm_up

__all__ = ["Warmth"]

log = structlog.get_logger(__name__)


class Warmth:
    """`warm` may be called at any time; `again` runs beside while sockets are open."""

    def __init__(
        self,
        ctx: ExchangeContext,
        board: StatusBoard,
        patience: Patience,
        now: Callable[[], int | None],
        symbols: Callable[[], Sequence[str]],
    ) -> None:
        """`now`: the exchange's clock, if it is known. `symbols`: those monitored, in rank order."""
        self._ctx = ctx
        self._board = board
        self._patience = patience
        self._now = now
        self._symbols = symbols
        self._turn = asyncio.Lock()
        self._cold: set[str] = set()
        self._failed = asyncio.Event()
        """Set while some are cold."""
        self._last: WarmupReport | None = None

    @property
    def cold(self) -> frozenset[str]:
        """Symbols whose warm-up failed in part, and is tried again."""
        return frozenset(self._cold)

    async def warm(self, symbols: Sequence[str]) -> float:
        """Seconds it took. Those of which a series failed are not told to be warm."""
        if not symbols:
            return 0.0
        async with self._turn:
            report = await warm_up(
                self._ctx, symbols, self._now(), _log_progress, timeframes=self._ctx.row.live_timeframes
            )
            self._note(symbols, report)
        # Who was removed meanwhile, and comes back one day, is not as warm as it was then.
        monitored = set(self._symbols()) - report.again
        await tell_warm(self._ctx, [one for one in symbols if one in monitored], self._now())
        return report.seconds

    async def again(self) -> None:
        """Part: warms up what failed, with growing pauses, and not before a closed budget opens."""
        pauses, tries = self._patience.warm_again_s, 0
        while True:
            await self._failed.wait()
            await self._pause(pauses[min(tries, len(pauses) - 1)])
            await self.warm([one for one in self._symbols() if one in self._cold])
            self._note_gone()
            tries = tries + 1 if self._cold else 0

    async def _pause(self, seconds: float) -> None:
        if (last := self._last) is not None:
            now_ms = self._ctx.clock.now_ms()
            seconds = max(seconds, (last.retry_at_ms - now_ms) / 1000)
            last.stats.again_ms = now_ms + int(seconds * 1000)
            await publish(self._ctx, last.stats)
        await self._ctx.clock.sleep(seconds)

    def _note(self, symbols: Sequence[str], report: WarmupReport) -> None:
        """An incident when the first fail; the log has every try."""
        self._last = report
        first = not self._cold
        self._cold.difference_update(symbols)
        self._cold.update(report.again)
        self._note_gone()
        if not self._cold:
            if not first:
                log.info("warm_at_last", exchange=self._ctx.row.name)
            return
        reason = report.stats.failed[0]["reason"] if report.stats.failed else ""
        text = (
            f"{self._ctx.row.name}: the history of {len(self._cold)} symbols could not be read in full and "
            f"is asked for again: {reason}"
        )
        if first:
            self._board.trouble(IncidentName.WARMUP_FAILED, text, error=True)
        else:
            log.warning("still_cold", exchange=self._ctx.row.name, text=text)

    def _note_gone(self) -> None:
        """Who is monitored no more need not be warm."""
        self._cold.intersection_update(self._symbols())
        if self._cold:
            self._failed.set()
        else:
            self._failed.clear()


def _log_progress(stats: WarmupStats) -> None:
    log.debug("warmup", phase=stats.phase, percent=round(stats.percent, 1), current=stats.current)
