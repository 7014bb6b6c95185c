"""This machine's clock against the exchange's: candles do not depend on it, much else does."""

from __future__ import annotations

from typing import Final

import structlog

from livermore_dagster.errors import ExchangeError
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext

__all__ = ["AFFECTS", "TOLERANCE_MS", "OwnClock"]

log = structlog.get_logger(__name__)

TOLERANCE_MS: Final = 1_000
AFFECTS: Final = (
    "Candles, indicators and alerts go by the exchange's clock and stay right; signed requests of accounts "
    "are refused, and ages, latencies and log times are wrong."
)
_FIRST_LOOK_S: Final = 60.0
_LOOK_S: Final = 300.0
_SLOWEST_MS: Final = 2_000
"""A reply slower than this says too little about the time."""


class OwnClock:
    """For real exchanges: a simulated market has a time of its own."""

    def __init__(self, ctx: ExchangeContext, board: StatusBoard) -> None:
        self._ctx = ctx
        self._board = board
        self._wrong = False

    async def watch(self) -> None:
        """Part: measures a minute after the start, which with a full cache asks the exchange nothing (P10),
        and then every five minutes; told once until it is right again."""
        await self._ctx.clock.sleep(_FIRST_LOOK_S)
        while True:
            try:
                await self.look()
            except ExchangeError as error:
                log.info("own_clock_unknown", exchange=self._ctx.row.name, error=str(error))
            await self._ctx.clock.sleep(_LOOK_S)

    async def look(self) -> int | None:
        """Exchange's time less ours in ms, to within half the reply's way; None where that took too long."""
        before = self._ctx.clock.now_ms()
        told = await self._ctx.client.server_time(Priority.BROWSE)
        after = self._ctx.clock.now_ms()
        if after - before > _SLOWEST_MS:
            return None
        ahead_ms = told - (before + after) // 2
        self._board.facts(clock_ahead_ms=ahead_ms)
        # Half the way is what cannot be known.
        wrong = abs(ahead_ms) - (after - before) // 2 > TOLERANCE_MS
        if wrong and not self._wrong:
            side = "behind" if ahead_ms > 0 else "ahead of"
            text = (
                f"this machine's clock is {abs(ahead_ms) / 1000:.1f} s {side} {self._ctx.row.name}'s. "
                f"{AFFECTS} Let the machine set its clock by NTP: timedatectl set-ntp true"
            )
            self._board.trouble(IncidentName.OWN_CLOCK, text)
        self._wrong = wrong
        return ahead_ms
