"""Between the closer and the candle cache: bounded, batched, open candles conflated, closes never dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.market.candle import Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.candle_cache import CandleCache, WriteResult

__all__ = ["CandleSink", "OlderStore"]

log = structlog.get_logger(__name__)

_BATCH = 200
_OPEN_PAUSE_S = 0.1
"""Open candles wait this long for newer ones of their series; a close wakes the sink at once."""


class OlderStore(Protocol):
    """Where a candle goes that is older than a full cache (PostgreSQL)."""

    async def upsert(self, exchange_id: int, batch: Sequence[StampedCandle]) -> object: ...


class CandleSink:
    """`offer` never waits. Memory is bounded: one open candle per series, and closes, which are few."""

    def __init__(
        self,
        cache: CandleCache,
        older: OlderStore,
        exchange_id: int,
        clock: Clock,
        on_closed: Callable[[StampedCandle], None],
    ) -> None:
        """`on_closed` hears of every live close the cache took for the first time."""
        self._cache = cache
        self._older_store = older
        self._exchange_id = exchange_id
        self._clock = clock
        self._on_closed = on_closed
        self._finals: deque[StampedCandle] = deque()
        self._opens: dict[tuple[str, Timeframe], StampedCandle] = {}
        self._older: deque[StampedCandle] = deque()
        self._something = asyncio.Event()
        self._urgent = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """Closes not yet in the cache or, if older, not yet in PostgreSQL."""
        return len(self._finals) + len(self._older)

    def offer(self, writes: Iterable[StampedCandle]) -> None:
        for stamped in writes:
            if stamped.rank is Rank.OPEN:
                self._opens[stamped.symbol, stamped.timeframe] = stamped
            else:
                self._finals.append(stamped)
                self._urgent.set()
        if self._opens or self._finals:
            self._something.set()
            self._idle.clear()

    async def run(self) -> None:
        """Until cancelled. Raises what the stores raise; nothing taken is lost by that."""
        while True:
            while self._older:
                await self._store_older()
            await self._something.wait()
            if not self._finals:
                await self._pause()
            await self._write(self._take())
            if not (self._finals or self._opens):
                self._something.clear()
                self._urgent.clear()
                if not self._older:
                    self._idle.set()

    async def drained(self) -> None:
        """Returns when everything offered so far has been written."""
        self._urgent.set()
        await self._idle.wait()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_OPEN_PAUSE_S):
                await self._urgent.wait()
        except TimeoutError:
            return

    def _take(self) -> list[StampedCandle]:
        batch = [self._finals.popleft() for _ in range(min(_BATCH, len(self._finals)))]
        room = _BATCH - len(batch)
        return batch + [self._opens.pop(series) for series in list(self._opens)[:room]]

    def _put_back(self, batch: Sequence[StampedCandle]) -> None:
        for stamped in reversed(batch):
            if stamped.rank is Rank.OPEN:
                self._opens.setdefault((stamped.symbol, stamped.timeframe), stamped)
            else:
                self._finals.appendleft(stamped)

    async def _write(self, batch: list[StampedCandle]) -> None:
        written = False
        try:
            results = await self._cache.write(batch, self._clock.now_ms())
            written = True
        finally:
            if not written:  # the cache's rule makes a second write of the same candle harmless
                self._put_back(batch)
        for stamped, result in zip(batch, results, strict=True):
            if result is WriteResult.OLDER and stamped.rank is not Rank.OPEN:
                self._older.append(stamped)
            elif (
                stamped.rank is not Rank.OPEN
                and stamped.origin is Origin.LIVE
                and result in (WriteResult.INSERTED, WriteResult.UPDATED)
            ):
                self._on_closed(stamped)

    async def _store_older(self) -> None:
        batch = list(self._older)
        await self._older_store.upsert(self._exchange_id, batch)
        for _ in batch:
            self._older.popleft()
        if not (self._finals or self._opens or self._older):
            self._idle.set()
