"""The exchange's time by REST: in place of its stream's while that is down, against it while it flows."""

from __future__ import annotations

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
    ) -> None:
        self._ctx = ctx
        self._exchange_clock = exchange_clock
        self._pipeline = pipeline
        self._meter = meter
        self._patience = patience
        self._clock = ctx.clock

    async def rest_clock(self) -> None:
        """Part: while no connection is alive the exchange's clock is read by REST."""
        while True:
            await self._clock.sleep(_REST_CLOCK_S)
            if self._exchange_clock.alive(self._clock.monotonic()):
                continue
            try:
                told = await self._ctx.client.server_time(Priority.REPAIR)
                self._exchange_clock.observe_rest(told - REST_MARGIN_MS)
            except ExchangeError as error:
                log.info("no_exchange_time", exchange=self._ctx.row.name, error=str(error))

    async def skew(self) -> None:
        """Part: tells when REST and stream disagree about the time. Nothing is closed by REST's."""
        while True:
            await self._clock.sleep(self._patience.skew_look_s)
            try:
                await self._compare()
            except ExchangeError as error:
                log.info("no_exchange_time", exchange=self._ctx.row.name, error=str(error))

    async def _compare(self) -> None:
        if not self._exchange_clock.alive(self._clock.monotonic()):
            return
        before = self._pipeline.now()
        told = await self._ctx.client.server_time(Priority.BROWSE)
        after = self._pipeline.now()
        if before is None or after is None or not self._exchange_clock.alive(self._clock.monotonic()):
            return
        tolerance = _TOLERANCE_S * 1000 * self._exchange_clock.speed
        ahead_ms = told - after if told > after + tolerance else min(0, told - before)
        if abs(ahead_ms) <= tolerance:
            return
        self._meter.count("clock_skews")
        words = "ahead of" if ahead_ms > 0 else "behind"
        text = f"its REST time is {abs(ahead_ms) / 1000:.1f} s {words} its stream's"
        self._pipeline.on_notice(IncidentName.CLOCK_SKEW, self._ctx.row.name, text)
