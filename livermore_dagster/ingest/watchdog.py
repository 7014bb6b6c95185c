"""Notices a connection that is open and dead: nothing at all for 30 s, its liquid symbols silent, or no
candle since it was opened (P12)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.errors import ExchangeError
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.ingest.connections import ConnectionHub, Line
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.patience import Patience

__all__ = ["Watchdog", "traded_since"]

log = structlog.get_logger(__name__)

_LOOK_S: Final = 1.0
_LIQUID: Final = 5
_FLOWS_S: Final = 3.0
"""Frames heard within this mean that what comes is read: a pause of ours is no missing heartbeat."""
_LOOK_PATIENCE_S: Final = 20.0
"""A look that must wait longer for the budget is none: other connections are to be watched meanwhile."""

Trades = Callable[[str], Awaitable[bool]]
"""One REST look: whether this symbol has traded since its last frame."""


class Watchdog:
    """All times are real seconds: a simulated market that runs faster is watched no faster."""

    def __init__(
        self,
        hub: ConnectionHub,
        heard: Mapping[str, float],
        traded: Trades,
        clock: Clock,
        on_reconnect: Callable[[Line, str], None],
        patience: Patience,
        updated: Mapping[str, float],
        beats: Mapping[str, float] | None = None,
    ) -> None:
        """`heard`: monotonic seconds of each symbol's last candle or ticker frame; `updated`: of each
        connection's last candle update.

        `beats`: of each connection's last heartbeat; None where the exchange sends none.
        """
        self._hub = hub
        self._heard = heard
        self._traded = traded
        self._clock = clock
        self._on_reconnect = on_reconnect
        self._patience = patience
        self._updated = updated
        self._beats = beats
        self._looked: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_S)
            for line in self._hub.lines:
                reason = await self._judge(line)
                if reason:
                    log.warning("watchdog", connection=line.name, reason=reason)
                    self._on_reconnect(line, reason)
                    line.reconnect(reason)

    async def _judge(self, line: Line) -> str:
        """Why the line must reconnect, '' when it need not."""
        connection = line.connection
        if connection is None:
            return ""
        now = self._clock.monotonic()
        dead_s, silent_s = self._patience.dead_s, self._patience.silent_s
        if now - connection.last_frame_at >= dead_s:
            return f"no message for {dead_s:.0f} s"
        if self._beats is not None and now - self._last_heard(line.symbols) < _FLOWS_S:
            # Without them the exchange ends a quiet connection, and the clock hangs on trades alone.
            beat = max(self._beats.get(connection.name, 0.0), connection.opened_at)
            if now - beat >= dead_s:
                return f"no heartbeat for {dead_s:.0f} s"
        liquid = line.symbols[:_LIQUID]
        # Candles that stop later the closer notices, by those that came before.
        began = connection.name in self._updated
        heard = self._last_heard(liquid) if began else 0.0
        since = max(heard, connection.opened_at, self._looked.get(line.name, 0.0))
        if not liquid or now - since < silent_s:
            return ""
        self._looked[line.name] = now
        try:
            async with asyncio.timeout(_LOOK_PATIENCE_S):
                traded = await self._traded(liquid[0])
            if traded:
                silence = "silent" if began else "without any candle since it was opened,"
                return f"{', '.join(liquid)} {silence} for {silent_s:.0f} s while they trade"
        except (ExchangeError, TimeoutError) as error:
            log.warning("watchdog_look_failed", connection=line.name, error=str(error) or "no answer in time")
        return ""

    def _last_heard(self, symbols: Sequence[str]) -> float:
        return max((self._heard.get(symbol, 0.0) for symbol in symbols), default=0.0)


async def traded_since(ctx: ExchangeContext, symbol: str) -> bool:
    """One REST look: whether the exchange has trades of `symbol` newer than what was streamed."""
    timeframe = min(ctx.row.streamed_timeframes, key=lambda tf: tf.ms)
    held = await ctx.cache.read(symbol, timeframe, 1, final_only=False)
    if not held:
        return True
    newest = held[-1].candle
    end_ms = await ctx.exchange_now(Priority.REPAIR) + timeframe.ms
    span_ms = min(end_ms - newest.open_ms, (ctx.quirks.rest_rows - 1) * timeframe.ms)
    rows = await ctx.client.candles(symbol, timeframe, end_ms - span_ms, end_ms, Priority.REPAIR)
    return any(
        (row.candle.open_ms > newest.open_ms and row.candle.observed)
        or (row.candle.open_ms == newest.open_ms and row.candle.volume != newest.volume)
        for row in rows
    )
