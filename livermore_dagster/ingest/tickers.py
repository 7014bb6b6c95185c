"""Tickers on their way to Redis: the newest of each symbol, at most once a second (P14)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from livermore_dagster.clock import Clock
from livermore_dagster.exchanges.contract import TickerFrame
from livermore_dagster.stores.redis.tickers import Ticker

__all__ = ["TickerSink", "ticker_of"]

_PAUSE_S = 1.0

Write = Callable[[Sequence[TickerFrame]], Awaitable[None]]


class TickerSink:
    """`offer` never waits; memory is one ticker per symbol."""

    def __init__(self, write: Write, clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._newest: dict[str, TickerFrame] = {}
        self._something = asyncio.Event()

    def offer(self, ticker: TickerFrame) -> None:
        held = self._newest.get(ticker.symbol)
        if held is None or ticker.event_ms >= held.event_ms:
            self._newest[ticker.symbol] = ticker
            self._something.set()

    def forget(self, symbols: Iterable[str]) -> None:
        """What waits of them is not written: it would come back after all else of them has been removed."""
        for symbol in symbols:
            self._newest.pop(symbol, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            batch, self._newest = list(self._newest.values()), {}
            await self._write(batch)
            await self._clock.sleep(_PAUSE_S)


def ticker_of(frame: TickerFrame) -> Ticker:
    """As it is kept and published."""
    return Ticker(
        symbol=frame.symbol,
        price=frame.price,
        bid=frame.bid,
        ask=frame.ask,
        change_24h_pct=frame.change_24h_pct,
        high_24h=frame.high_24h,
        low_24h=frame.low_24h,
        volume_24h=frame.volume_24h,
        quote_volume_24h=frame.quote_volume_24h,
        ts=frame.event_ms,
    )
