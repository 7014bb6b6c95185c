"""Has the product list looked at when a symbol falls silent that traded all the time: it may be halted.

An exchange's stream does not say so: it sends nothing, or bars without trades. Judged at each boundary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.boundary import BOUNDARY_MS
from livermore_dagster.market.silence import BARS, fell_silent
from livermore_dagster.stores.redis.symbol_events import doubt_symbol

__all__ = ["Silences"]

_LATER_S: Final = 20.0
"""After a boundary: what ended by then is known, and nobody waits for this."""
_AT_ONCE: Final = 10
"""Symbols read in one go, which takes a few milliseconds."""


class Silences:
    """`raised` at each boundary; `run` does the rest."""

    def __init__(self, ctx: ExchangeContext, symbols: Callable[[], Sequence[str]]) -> None:
        self._ctx = ctx
        self._symbols = symbols
        self._boundary_ms = 0
        self._judged_ms = 0
        self._news = asyncio.Event()

    def raised(self, boundary_ms: int) -> None:
        """Exchange ms. Never waits."""
        self._boundary_ms = boundary_ms
        self._news.set()

    async def run(self) -> None:
        """Part: until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._ctx.clock.sleep(_LATER_S)
            to_ms = self._boundary_ms
            await self._judge(self._judged_ms or to_ms - BOUNDARY_MS, to_ms)
            self._judged_ms = to_ms

    async def _judge(self, from_ms: int, to_ms: int) -> None:
        ctx = self._ctx
        timeframe = min(ctx.row.streamed_timeframes, key=lambda one: one.ms)
        bars = BARS + (to_ms - from_ms) // timeframe.ms
        symbols = list(self._symbols())
        for start in range(0, len(symbols), _AT_ONCE):
            some = symbols[start : start + _AT_ONCE]
            held = await ctx.cache.read_many(some, timeframe, bars, until_ms=to_ms)
            for symbol, candles in held.items():
                if fell_silent([one.candle for one in candles], from_ms, to_ms, timeframe.ms):
                    why = "it traded all the time and has fallen silent"
                    await doubt_symbol(ctx.redis, ctx.row.id, symbol, why, ctx.clock.now_ms())
