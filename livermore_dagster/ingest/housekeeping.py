"""What a live service does now and then: figures, back-pressure, refused symbols, a clock by REST."""

from __future__ import annotations

from typing import Final

import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.errors import ExchangeError
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.connections import ConnectionHub
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.meter import Meter
from livermore_dagster.ingest.pipeline import Pipeline
from livermore_dagster.market.exchange_clock import ExchangeClock
from livermore_dagster.stores.redis.closes import backlog

__all__ = ["Housekeeping"]

log = structlog.get_logger(__name__)

_PAUSE_S: Final = 1.0
_REFUSED_AGAIN_S: Final = 60.0
_REST_CLOCK_S: Final = 5.0


class Housekeeping:
    """Real seconds throughout."""

    def __init__(
        self,
        ctx: ExchangeContext,
        hub: ConnectionHub,
        pipeline: Pipeline,
        exchange_clock: ExchangeClock,
        meter: Meter,
        board: StatusBoard,
    ) -> None:
        self._ctx = ctx
        self._hub = hub
        self._pipeline = pipeline
        self._exchange_clock = exchange_clock
        self._meter = meter
        self._board = board
        self._clock: Clock = ctx.clock

    async def figures(self) -> None:
        """Part: counters and back-pressure, about once a second."""
        while True:
            await self._meter.flush(self._ctx.redis)
            await self._mind_backlog()
            await self._clock.sleep(_PAUSE_S)

    async def rest_clock(self) -> None:
        """Part: while no connection is alive the exchange's clock is read by REST."""
        while True:
            await self._clock.sleep(_REST_CLOCK_S)
            if self._exchange_clock.alive(self._clock.monotonic()):
                continue
            try:
                self._exchange_clock.observe_rest(await self._ctx.client.server_time(Priority.REPAIR))
            except ExchangeError as error:
                log.info("no_exchange_time", exchange=self._ctx.row.name, error=str(error))

    async def refusals(self) -> None:
        """Part: what was refused is asked for again, symbol by symbol."""
        while True:
            await self._clock.sleep(_REFUSED_AGAIN_S)
            for name in list(self._pipeline.refused):
                symbols = sorted(self._pipeline.refused.pop(name))
                line = self._hub.line_of(name)
                if line is None or line.connection is None:
                    continue
                try:
                    await line.connection.resubscribe(add=symbols, remove=[])
                except ExchangeError as error:
                    log.info("resubscribe_failed", connection=name, error=str(error))

    async def _mind_backlog(self) -> None:
        waiting = await backlog(self._ctx.redis, self._ctx.row.id)
        if waiting.over_cap and not self._pipeline.paused:
            self._pipeline.pause()
            self._board.facts(paused=True)
            text = f"{self._ctx.row.name} pauses: {waiting.unacknowledged} closes await their consumers."
            self._board.trouble("backlog", text, "error", error=True)
        elif self._pipeline.paused and not waiting.over_cap:
            self._pipeline.resume()
            self._board.facts(paused=False)
