"""The exchange's time by REST: in place of its stream's while that is down, against it while it flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from livermore_dagster.errors import ExchangeError
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.context import REST_MARGIN_MS, ExchangeContext
from livermore_dagster.ingest.meter import Meter
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.pipeline import Pipeline
from livermore_dagster.market.exchange_clock import ExchangeClock

__all__ = ["TimeKeeper"]

log = structlog.get_logger(__name__)

_REST_CLOCK_S: Final = 5.0
_MOVES_S: Final = 3.0
_TOLERANCE_S: Final = 2.0
"""Frames carry the time of their making, and a quiet stream may be so much older than its exchange."""


class TimeKeeper:
    """Real seconds throughout."""

    def __init__(
        self,
        ctx: ExchangeContext,
        exchange_clock: ExchangeClock,
        pipeline: Pipeline,
        meter: Meter,
        patience: Patience,
        watched: Callable[[], bool],
    ) -> None:
        """`watched`: whether there is any symbol, whose candles end by the time."""
        self._ctx = ctx
        self._exchange_clock = exchange_clock
        self._pipeline = pipeline
        self._meter = meter
        self._patience = patience
        self._watched = watched
        self._clock = ctx.clock

    async def rest_clock(self) -> None:
        """Part: while no connection is alive the exchange's clock is read by REST.

        Without any symbol nobody needs it: nothing closes, and nothing falls due.
        """
        while True:
            await self._clock.sleep(_REST_CLOCK_S)
            if not self._watched() or self._exchange_clock.alive(self._clock.monotonic()):
                continue
            try:
                told = await self._ctx.client.server_time(Priority.REPAIR)
                self._exchange_clock.observe_rest(told - REST_MARGIN_MS)
            except ExchangeError as error:
                log.info("no_exchange_time", exchange=self._ctx.row.name, error=str(error))

    async def skew(self) -> None:
        """Part: tells when REST and stream disagree about the time. Nothing is closed by REST's."""
        before = 0.0
        while True:
            await self._clock.sleep(self._patience.skew_look_s)
            try:
                ahead_ms = await self._ahead_ms()
            except ExchangeError as error:
                log.info("no_exchange_time", exchange=self._ctx.row.name, error=str(error))
                continue
            # One look may have met a stream that was just about to stall: the next one must confirm it.
            if ahead_ms * before > 0:
                self._meter.count("clock_skews")
                words = "ahead of" if ahead_ms > 0 else "behind"
                text = f"its REST time is {abs(ahead_ms) / 1000:.1f} s {words} its stream's"
                self._pipeline.on_notice(IncidentName.CLOCK_SKEW, self._ctx.row.name, text)
            before = ahead_ms

    async def _ahead_ms(self) -> float:
        """How far REST is outside of what the stream allows; 0 where it is not, or the stream stands."""
        if not await self._moves():
            return 0.0
        stream, at = self._pipeline.now(), self._clock.monotonic()
        told = await self._ctx.client.server_time(Priority.BROWSE)
        if stream is None:
            return 0.0
        speed = self._exchange_clock.speed
        tolerance = _TOLERANCE_S * 1000 * speed
        latest = stream + (self._clock.monotonic() - at) * 1000 * speed
        if told > latest + tolerance:
            return told - latest
        return min(0.0, told - (stream - tolerance))

    async def _moves(self) -> bool:
        """Waits for the stream to tell a newer time, so that it is compared while it is fresh."""
        stood = self._pipeline.now()
        deadline = self._clock.monotonic() + _MOVES_S
        while self._pipeline.now() == stood:
            if self._clock.monotonic() > deadline:
                return False
            await self._clock.sleep(0.05)
        return True
