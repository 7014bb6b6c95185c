"""Takes every close of an exchange to PostgreSQL: group 'store', acknowledged after the commit (P7)."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psycopg
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.stores.postgres.candles import CandleTable, UpsertCounts
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.redis import keys, metrics
from livermore_dagster.stores.redis.closes import Close, ClosesReader, trim_closes

__all__ = ["StoreState", "StoreWriter"]

_log = structlog.get_logger(__name__)

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
STOP_GRACE_S = 0.5
"""What a transaction under way gets when a stop comes."""
TRIM_EVERY = 1_000
"""Acknowledged entries after which the stream is trimmed while busy; when idle it is trimmed at once."""


@dataclass(slots=True)
class StoreState:
    """What the writer has done and is doing, for status and screens."""

    stored: UpsertCounts = field(default_factory=UpsertCounts)
    acknowledged: int = 0
    waiting_for: str | None = None
    """'PostgreSQL' or 'Redis' while that does not answer, else None."""
    attempts: int = 0
    """Failed attempts in a row."""
    last_error: str = ""


class StoreWriter:
    """One per exchange, run by its ingest service.

    Whatever line it dies at, the next one starts with the entries this one had not acknowledged; storing them
    twice changes nothing. While a server is away it tries on with growing delays, without end, visibly
    (`state`, counter `store_retries`, incidents `store_waiting` and `store_resumed`), and drops nothing.
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
    ) -> None:
        """`batch`: closes per transaction. `block_ms`: how long one read waits, so how late a stop may be."""
        self.state = StoreState()
        self._redis = client
        self._table = CandleTable(pool)
        self._exchange_id = exchange_id
        self._clock = clock or SystemClock()
        self._batch = batch
        self._block_ms = block_ms
        self._reader = ClosesReader(client, exchange_id, keys.CLOSES_GROUP_STORE)
        self._untrimmed = 0
        self._delays = _delays()
        self._log = _log.bind(exchange_id=exchange_id)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set."""
        while not stop.is_set():
            try:
                await self._reader.ensure_group()
                await self._work(stop)
            except (RedisError, OSError) as error:
                await self._wait("Redis", error, stop)

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            closes = await self._reader.pending(self._batch)
            if not closes:
                break
            await self._store(closes, stop)
        while not stop.is_set():
            closes = await self._reader.fresh(self._batch, self._block_ms)
            if self.state.waiting_for == "Redis":
                await self._resumed()
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
                await self._wait("PostgreSQL", error, stop)
                if stop.is_set():
                    return
        if counts is None:
            return
        await self._reader.ack(close.entry_id for close in closes)
        self.state.stored += counts
        self.state.acknowledged += len(closes)
        self._untrimmed += len(closes)
        await self._resumed()

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

    async def _wait(self, server: str, error: Exception, stop: asyncio.Event) -> None:
        state = self.state
        first = state.waiting_for != server
        state.waiting_for, state.attempts = server, state.attempts + 1
        state.last_error = _reason(error)
        self._log.warning("store_waiting", server=server, attempts=state.attempts, error=state.last_error)
        if server != "Redis":
            await self._tell(first=first)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), next(self._delays))

    async def _tell(self, *, first: bool) -> None:
        """Counter at each attempt, incident at the first. Redis may be away too: the loop then notices."""
        with contextlib.suppress(RedisError, OSError):
            await metrics.count(self._redis, self._exchange_id, "store_retries")
            if first:
                text = f"Closes wait for {self.state.waiting_for}: {self.state.last_error}"
                await metrics.incident(self._redis, "store_waiting", self._exchange_id, text)

    async def _resumed(self) -> None:
        state = self.state
        if state.waiting_for is None:
            return
        server, attempts = state.waiting_for, state.attempts
        state.waiting_for, state.attempts, state.last_error = None, 0, ""
        self._delays = _delays()
        self._log.info("store_resumed", server=server, attempts=attempts)
        text = f"Closes are stored again after {attempts} attempts."
        await metrics.incident(
            self._redis, "store_resumed", self._exchange_id, text, server=server, attempts=attempts
        )


def _delays() -> Iterator[float]:
    """Seconds: doubling from FIRST_DELAY_S to LONGEST_DELAY_S, give or take a quarter."""
    delay = FIRST_DELAY_S
    while True:
        yield delay * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
        delay = min(delay * 2, LONGEST_DELAY_S)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
