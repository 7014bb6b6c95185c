"""What of the monitored symbols is warm: one warm-up at a time, and again what failed of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from livermore_dagster.clock import seconds_until
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.selection import tell_warm
from livermore_dagster.ingest.warmup import WarmupReport, WarmupStats, publish, warm_up

__all__ = ["Warmth"]

log = structlog.get_logger(__name__)

_LOOK_S: Final = 60.0
"""In a long pause it is looked so often whether a symbol has come that is not to wait as long."""


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
        self._cold: dict[str, int] = {}
        """How often each was tried."""
        self._tried_at = ctx.clock.monotonic()
        self._failed = asyncio.Event()
        """Set while some are cold."""
        self._last: WarmupReport | None = None

    @property
    def cold(self) -> frozenset[str]:
        """Symbols whose warm-up failed in part, and is tried again; after many tries they count as warm."""
        return frozenset(self._cold)

    async def warm(self, symbols: Sequence[str]) -> float:
        """Seconds it took. Those of which a series failed are not told to be warm, until that was often."""
        if not symbols:
            return 0.0
        async with self._turn:
            report = await warm_up(
                self._ctx, symbols, self._now(), _log_progress, timeframes=self._ctx.row.live_timeframes
            )
            self._note(symbols, report)
        # Who was removed meanwhile, and comes back one day, is not as warm as it was then.
        monitored, enough = set(self._symbols()), self._patience.warm_tries
        warm = [one for one in symbols if one in monitored and self._cold.get(one, enough) >= enough]
        await tell_warm(self._ctx, warm, self._now())
        return report.seconds

    async def again(self) -> None:
        """Part: warms up what failed, with growing pauses, and not before a closed budget opens."""
        told: WarmupReport | None = None
        while True:
            await self._failed.wait()
            while (pause := self._pause()) > 0:
                if (last := self._last) is not None and last is not told:
                    told = last
                    last.stats.again_ms = self._ctx.clock.now_ms() + int(pause * 1000)
                    await publish(self._ctx, last.stats)
                await self._ctx.clock.sleep(min(pause, _LOOK_S))
            self._tried_at = self._ctx.clock.monotonic()
            await self.warm([one for one in self._symbols() if one in self._cold])
            self._note_gone()

    def _pause(self) -> float:
        """Seconds until the one tried least often is due, and the budget open."""
        pauses, tries = self._patience.warm_again_s, min(self._cold.values(), default=1)
        due = self._tried_at + pauses[min(tries, len(pauses)) - 1] - self._ctx.clock.monotonic()
        return max(due, 0.0 if self._last is None else seconds_until(self._ctx.clock, self._last.retry_at_ms))

    def _note(self, symbols: Sequence[str], report: WarmupReport) -> None:
        """An incident when the first fail, and when some count as warm so; the log has every try."""
        self._last = report
        if report.again:
            self._tried_at = self._ctx.clock.monotonic()
        first = not self._cold
        tries = {one: self._cold.pop(one, 0) + 1 for one in symbols}
        self._cold.update({one: tries[one] for one in report.again})
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
        given = sum(self._cold.get(one) == self._patience.warm_tries for one in symbols)
        if given:
            text += (
                f" After {self._patience.warm_tries} tries {given} of them count as warm with what there is."
            )
        if first or given:
            self._board.trouble(IncidentName.WARMUP_FAILED, text, error=True)
        else:
            log.warning("still_cold", exchange=self._ctx.row.name, text=text)

    def _note_gone(self) -> None:
        """Who is monitored no more need not be warm."""
        monitored = set(self._symbols())
        self._cold = {one: tries for one, tries in self._cold.items() if one in monitored}
        if self._cold:
            self._failed.set()
        else:
            self._failed.clear()


def _log_progress(stats: WarmupStats) -> None:
    log.debug("warmup", phase=stats.phase, percent=round(stats.percent, 1), current=stats.current)
