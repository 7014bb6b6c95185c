"""The side of an instance that faces the closes stream: PostgreSQL, signals, outbox. It outlives pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.outbox import Outbox
from livermore_dagster.ingest.signals import SignalsConsumer
from livermore_dagster.ingest.store_writer import StoreWriter
from livermore_dagster.ingest.supervise import Supervisor
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.closes import consumed, newest_entry

__all__ = ["Consumers"]

log = structlog.get_logger(__name__)

_FINISH_S: Final = 0.6
_CAUGHT_UP_S: Final = 5.0
_LOOK_S: Final = 0.05


class Consumers:
    """Whoever writes a close (stream, boundary run, warm-up, repair) is served; parts run in `supervisor`."""

    def __init__(self, ctx: ExchangeContext, board: StatusBoard, supervisor: Supervisor) -> None:
        self.warm = asyncio.Event()
        """Set while no warm-up is on its way to a bar that is still unknown."""
        self._ctx = ctx
        self._board = board
        self._supervisor = supervisor
        self._timeframes: frozenset[Timeframe] | None = None
        self._stop = asyncio.Event()
        self._stop_signals = asyncio.Event()
        self._last_stop = asyncio.Event()
        """The outbox stops after the signals that feed it."""
        self._outbox = Outbox(ctx.redis, ctx.closes_pool, ctx.row, ctx.clock)

    def start(self, timeframes: Collection[Timeframe]) -> None:
        """`timeframes`: of those signals are computed; the others' closes are only stored."""
        ctx, start = self._ctx, self._supervisor.start
        writer = StoreWriter(ctx.redis, ctx.closes_pool, ctx.row.id, clock=ctx.clock, on_early=ctx.tell_early)
        start("store", lambda: writer.run(self._stop))
        start("outbox", lambda: self._outbox.run(self._last_stop))
        self._timeframes = frozenset(timeframes)
        self._start_signals()

    def _start_signals(self) -> None:
        ctx, stop = self._ctx, asyncio.Event()
        self._stop_signals = stop
        signals = SignalsConsumer(
            ctx.redis, ctx.closes_pool, ctx.row, ctx.clock, outbox=self._outbox, warm=self.warm,
            token=self._board.token, timeframes=self._timeframes,
        )  # fmt: skip
        self._supervisor.start("signals", lambda: signals.run(stop))

    async def signals_anew(self, timeframes: Collection[Timeframe]) -> None:
        """Begins from what is durable: with these timeframes, and without folds of symbols that are gone."""
        self._timeframes = frozenset(timeframes)
        self._stop_signals.set()
        await self._end_of("signals")
        await self._supervisor.stop("signals")
        self._start_signals()

    async def caught_up(self) -> bool:
        """Waits a few seconds for both groups to have taken every close there is now; whether they have."""
        client, exchange_id, clock = self._ctx.redis, self._ctx.row.id, self._ctx.clock
        newest = await newest_entry(client, exchange_id)
        deadline = clock.monotonic() + _CAUGHT_UP_S
        while not await consumed(client, exchange_id, newest):
            if clock.monotonic() >= deadline:
                return False
            await clock.sleep(_LOOK_S)
        return True

    async def finish(self) -> None:
        """Lets each end the entry it holds; the rest is taken up by the next start."""
        self._stop.set()
        self._stop_signals.set()
        await self._end_of("signals", "store")
        self._last_stop.set()
        await self._end_of("outbox")

    def abort(self) -> None:
        """What was not acknowledged is taken up again by the next instance."""
        self._stop.set()
        self._stop_signals.set()
        self._last_stop.set()

    async def _end_of(self, *parts: str) -> None:
        if not await self._supervisor.ended(*parts, within_s=_FINISH_S):
            log.info("cut_short", parts=parts)
