"""Takes every close of an exchange to PostgreSQL: group 'store', acknowledged after the commit (P7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg
import redis.asyncio
from redis.exceptions import RedisError

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.ingest.early import would_stand_long
from livermore_dagster.ingest.waiting import STORE, Waiting
from livermore_dagster.market.candle import Origin, Rank, StampedCandle
from livermore_dagster.stores.postgres.candles import CandleTable, UpsertCounts
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.closes import Close, ClosesReader, trim_closes

__all__ = ["StoreState", "StoreWriter"]

STOP_GRACE_S = 0.5
"""What a transaction under way gets when a stop comes."""
TRIM_EVERY = 1_000
"""Acknowledged entries after which the stream is trimmed while busy; when idle it is trimmed at once."""


@dataclass(slots=True)
class StoreState:
    """What the writer has done, for status and screens."""

    stored: UpsertCounts = field(default_factory=UpsertCounts)
    acknowledged: int = 0


class StoreWriter:
    """One per exchange, run by its ingest service.

    Whatever line it dies at, the next one starts with the entries this one had not acknowledged; storing them
    twice changes nothing. While a server is away it tries on with growing delays, without end, visibly
    (`waiting`), and drops nothing.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        pool: Pool,
        exchange_id: int,
        *,
        clock: Clock | None = None,
        batch: int = 1_000,
        block_ms: int = 500,
        on_early: Callable[[StampedCandle], None] | None = None,
    ) -> None:
        """`batch`: closes per transaction. `block_ms`: how long one read waits, so how late a stop may be.

        `on_early` hears of each candle a boundary fetch brought before it could have settled, whichever
        process fetched it.
        """
        self.state = StoreState()
        self.waiting = Waiting(client, exchange_id, STORE)
        self._redis = client
        self._table = CandleTable(pool)
        self._exchange_id = exchange_id
        self._clock = clock or SystemClock()
        self._batch = batch
        self._block_ms = block_ms
        self._reader = ClosesReader(client, exchange_id, keys.CLOSES_GROUP_STORE)
        self._on_early = on_early
        self._untrimmed = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set."""
        while not stop.is_set():
            try:
                await self._reader.ensure_group()
                await self._work(stop)
            except (RedisError, OSError) as error:
                await self.waiting.after(error, stop)

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            closes = await self._reader.pending(self._batch)
            if not closes:
                break
            await self._store(closes, stop)
        while not stop.is_set():
            closes = await self._reader.fresh(self._batch, self._block_ms)
            if self.waiting.server == "Redis":
                await self.waiting.over()
            if closes:
                await self._store(closes, stop)
            if self._untrimmed >= TRIM_EVERY or (self._untrimmed and not closes):
                await trim_closes(self._redis, self._exchange_id)
                self._untrimmed = 0

    async def _store(self, closes: Sequence[Close], stop: asyncio.Event) -> None:
        """Durable first, acknowledged then. Leaves them unacknowledged when stopped while waiting."""
        batch = [close.stamped() for close in closes]
        while True:
            try:
                counts = await self._upsert(batch, stop)
                break
            except (psycopg.Error, OSError) as error:
                await self.waiting.after(error, stop)
                if stop.is_set():
                    return
        if counts is None:
            return
        await self._reader.ack(close.entry_id for close in closes)
        self.state.stored += counts
        self.state.acknowledged += len(closes)
        self._untrimmed += len(closes)
        await self.waiting.over()
        if self._on_early is not None:
            for one in batch:
                early = one.rank is Rank.FINAL and one.origin is Origin.BOUNDARY
                if early and would_stand_long(one.timeframe):
                    self._on_early(one)

    async def _upsert(self, batch: Sequence[StampedCandle], stop: asyncio.Event) -> UpsertCounts | None:
        """None when a stop came first: whether it was committed or not, the next writer stores it again."""
        work = asyncio.ensure_future(self._table.upsert(self._exchange_id, batch))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait({work}, timeout=STOP_GRACE_S)
            return work.result() if work.done() else None
        finally:
            stopped.cancel()
            if not work.done():
                work.cancel()
                # A server that hangs does not answer the cancellation either.
                await asyncio.wait({work}, timeout=STOP_GRACE_S)
