"""The parts of a running instance: consumers that live on, and a stream side that comes and goes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import structlog

from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.consumers import Consumers
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.selection import forget_warmth
from livermore_dagster.ingest.stream_side import StreamSide
from livermore_dagster.ingest.supervise import Supervisor
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys

__all__ = ["Machinery"]

log = structlog.get_logger(__name__)

_WRITTEN_S: Final = 0.5
"""After this what a connection brought last is in the cache and in the closes stream."""


class Machinery:
    """`start` sets everything going; `stop` lets what is under way become durable, within 3 s."""

    def __init__(
        self, ctx: ExchangeContext, board: StatusBoard, symbols: Sequence[str], patience: Patience
    ) -> None:
        """`symbols` in rank order. Needs a running loop."""
        self.supervisor = Supervisor(ctx.clock, self._tell_failure)
        self.symbols = tuple(symbols)
        self.stream: StreamSide | None = None
        """None while it is paused."""
        self._ctx = ctx
        self._board = board
        self._patience = patience
        self._consumers = Consumers(ctx, board, self.supervisor)

    def now(self) -> int | None:
        """The exchange's clock, as its stream tells it."""
        return self.stream.pipeline.now() if self.stream is not None else None

    def start(self, timeframes: Collection[Timeframe]) -> None:
        """`timeframes`: of those signals are computed."""
        self._consumers.start(timeframes)

    def open_stream(self) -> None:
        """Frames flow from now on; what was missed before is to be warmed up, then `warmed` told."""
        self._consumers.warm.clear()
        self.stream = StreamSide(self._ctx, self._board, self.supervisor, self.symbols, self._patience)
        self.stream.open()

    def warmed(self) -> None:
        """Boundaries are raised, and a bar still unknown is waited for no longer than patience lasts."""
        self._consumers.warm.set()
        if self.stream is not None:
            self.stream.warmed()

    async def close_stream(self) -> None:
        """No socket is open after this; what they brought is in the closes stream, and gets consumed."""
        stream, self.stream = self.stream, None
        if stream is not None:
            await stream.close()

    async def stop(self) -> None:
        """Sockets first, then what they brought is written, then the consumers finish their entry."""
        await self.close_stream()
        await self._consumers.finish()
        await self.supervisor.stop()

    async def abort(self) -> None:
        """Ends everything at once; what was not acknowledged is taken up again by the next instance."""
        self._consumers.abort()
        if self.stream is not None:
            await self.stream.abort()
        await self.supervisor.stop()

    # --- changes ------------------------------------------------------------------------------------------
    async def change(self, symbols: Sequence[str]) -> None:
        """From now on these symbols, in rank order. Raises ExchangeUnavailable: then all is as before."""
        if self.stream is not None:
            await self.stream.change(symbols)
        self.symbols = tuple(symbols)

    async def compute(self, timeframes: Collection[Timeframe]) -> None:
        """From now on signals of these timeframes."""
        await self._consumers.signals_anew(timeframes)

    async def forget(self, symbols: Collection[str], timeframes: Collection[Timeframe]) -> int:
        """Removes what Redis holds of symbols that are no longer monitored; how many keys there were.

        Their candles stay in PostgreSQL. Not before all their closes are consumed: they shall be stored too.
        Nobody brings them back after that, not even who read them as monitored before.
        """
        if not symbols:
            return 0
        await self._ctx.clock.sleep(_WRITTEN_S)
        await self._ctx.cache.dismiss(symbols)
        if not await self._consumers.caught_up():
            log.warning("removed_while_behind", exchange=self._ctx.row.name, symbols=sorted(symbols))
        await self._consumers.signals_anew(timeframes)
        exchange_id = self._ctx.row.id
        names = [keys.ticker(exchange_id, symbol) for symbol in symbols]
        names += await self._ctx.cache.names(symbols, Timeframe)
        for symbol in symbols:
            for timeframe in Timeframe:
                at = exchange_id, symbol, timeframe
                names += [keys.indicator(*at), keys.indicator_state(*at)]
        async with self._ctx.redis.pipeline(transaction=True) as pipe:
            pipe.unlink(*names)
            forget_warmth(pipe, exchange_id, symbols)
            unlinked, *_ = await pipe.execute()
        return int(unlinked)

    # --- telling ------------------------------------------------------------------------------------------
    async def _tell_failure(self, part: str, text: str) -> None:
        if self.stream is not None:
            self.stream.meter.count("parts_failed")
        words = f"{self._ctx.row.name}: {part} failed and is restarted: {text}"
        self._board.trouble(IncidentName.PART_FAILED, words)
