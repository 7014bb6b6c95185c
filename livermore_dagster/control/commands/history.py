"""The history of commands on its way to PostgreSQL (C4): bounded, and nothing of it is lost unseen."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from itertools import islice
from typing import Final

import psycopg
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from livermore_dagster.clock import Clock
from livermore_dagster.control.commands.message import Outcome
from livermore_dagster.incidents import IncidentName
from livermore_dagster.stores.postgres.commands import CommandRecord, record_commands
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.redis import metrics

__all__ = ["CommandHistory"]

log = structlog.get_logger(__name__)

_RETRY_S: Final = 0.5
_BATCH: Final = 500
_KEPT: Final = 5_000
_LAST_S: Final = 0.5
"""So long an instance that ends tries to write what still waits."""
_TELL_S: Final = 5.0


class CommandHistory:
    """Notes wait here while PostgreSQL is away. Used from the instance's loop; `full` from any thread.

    A later note of a command takes the place of an earlier one that still waits: it says all of it. Whoever
    takes commands takes none while it is `full`, so that those taken have their place whatever comes of them;
    a refusal that finds none is dropped, counted and told.
    """

    def __init__(
        self, client: redis.asyncio.Redis, pool: Pool, exchange_id: int, clock: Clock, *, kept: int = _KEPT
    ) -> None:
        self._redis = client
        self._pool = pool
        self._exchange_id = exchange_id
        self._clock = clock
        self._kept = kept
        self._waiting: dict[tuple[str, str], CommandRecord] = {}
        self._something = asyncio.Event()
        self._dropped = 0
        self._some_dropped = asyncio.Event()

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._kept

    def note(self, record: CommandRecord) -> None:
        """To be written; never waited for."""
        key = record.correlation_id, record.sub
        before = self._waiting.get(key)
        if before is None and self.full and record.outcome in (Outcome.REFUSED, Outcome.EXPIRED):
            self._drop(record, "too many wait")
        elif before is None:
            self._waiting[key] = record
        elif before.finished_ms is None:  # what is over stays as it ended, as in the table
            self._waiting[key] = replace(record, received_ms=before.received_ms)
        self._something.set()

    async def run(self) -> None:
        """Until cancelled: what PostgreSQL cannot take now is written when it can."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep())
                tasks.create_task(self._tell())
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_S):
                    await self._write_waiting()
            raise

    async def _keep(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            await self._write_waiting()

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch = dict(islice(self._waiting.items(), _BATCH))
            await self._write(list(batch.values()))
            for key, record in batch.items():
                if self._waiting[key] is record:  # else something newer was noted meanwhile
                    del self._waiting[key]

    async def _write(self, records: list[CommandRecord]) -> None:
        while True:
            try:
                async with self._pool.connection() as connection:
                    await record_commands(connection, records)
                return
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                log.warning("command_history_waiting", error=type(error).__name__, waiting=len(self._waiting))
                await self._clock.sleep(_RETRY_S)
            except psycopg.Error as error:
                if len(records) == 1:
                    # What it will never take, text with a NUL say, must not hold back what comes after it.
                    self._drop(records[0], type(error).__name__)
                    return
                for record in records:
                    await self._write([record])
                return

    def _drop(self, record: CommandRecord, why: str) -> None:
        log.warning("command_unrecorded", id=record.correlation_id, outcome=record.outcome, why=why)
        self._dropped += 1
        self._some_dropped.set()

    async def _tell(self) -> None:
        while True:
            await self._some_dropped.wait()
            self._some_dropped.clear()
            dropped, self._dropped = self._dropped, 0
            text = f"{dropped} commands are missing from the history; the instance's log names them."
            log.error("commands_unrecorded", text=text)
            try:
                await metrics.count(self._redis, self._exchange_id, "commands_unrecorded", dropped)
                await metrics.incident(self._redis, IncidentName.COMMANDS_UNRECORDED, self._exchange_id, text)
            except (RedisError, OSError) as error:
                log.warning("dropped_untold", error=type(error).__name__)
                self._dropped += dropped
                self._some_dropped.set()
            await self._clock.sleep(_TELL_S)
