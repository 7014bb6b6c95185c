"""Runs the commands that were taken: each lane one after another, each command once, each answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import psycopg
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from livermore_dagster.clock import Clock
from livermore_dagster.control.commands.history import CommandHistory
from livermore_dagster.control.commands.message import (
    LANES,
    Command,
    CommandType,
    Lane,
    Outcome,
    ReplyKind,
)
from livermore_dagster.control.commands.queue import CommandQueue, server_ms
from livermore_dagster.control.commands.telling import Teller
from livermore_dagster.errors import LivermoreError, UsageError
from livermore_dagster.stores.postgres.commands import CommandRecord
from livermore_dagster.stores.postgres.connect import Pool

__all__ = ["CommandExecutor", "Handler", "Progress"]

log = structlog.get_logger(__name__)

Progress = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Tells the sender how far a long command is."""
Handler = Callable[[Command, Progress], Awaitable[Mapping[str, Any]]]
"""Does what a command says and says what it did. A UsageError refuses it, another LivermoreError fails it."""

_RETRY_S: Final = 0.5
_SWEEP_S: Final = 5.0


class CommandExecutor:
    """Used from the instance's loop; other threads `call_soon_threadsafe` its `heard`.

    `run` works until cancelled. A command that runs when it is cancelled stays marked as running: the next
    instance answers it as failed, and does not run it again.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        pool: Pool,
        exchange_id: int,
        *,
        token: str,
        instance_id: str,
        handlers: Mapping[CommandType, Handler],
        clock: Clock,
    ) -> None:
        self._redis = client
        self._queue = CommandQueue(client, exchange_id, token)
        self._teller = Teller(instance_id)
        self._handlers = handlers
        self._clock = clock
        self._wakes = {lane: asyncio.Event() for lane in LANES}
        self._history = CommandHistory(client, pool, exchange_id, clock)
        self._here: set[str] = set()
        """Names of the commands in flight here; any other that Redis says is running nobody will answer."""
        self._taking = asyncio.Lock()
        """Held from asking for a command to knowing which it is."""
        self._doubt = asyncio.Event()
        """A word with Redis was lost: a command may have been taken with nobody knowing."""

    def heard(self, records: Sequence[CommandRecord]) -> None:
        """Commands were queued, or refused."""
        for record in records:
            self._history.note(record)
        for event in self._wakes.values():
            event.set()

    @property
    def full(self) -> bool:
        """Whether no more shall be taken, because their history could not be kept. From any thread."""
        return self._history.full

    async def run(self) -> None:
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._history.run())
            lanes.create_task(self._answer_orphans())
            for lane in LANES:
                lanes.create_task(self._work(lane))

    # --- lanes --------------------------------------------------------------------------------------------
    async def _work(self, lane: Lane) -> None:
        wake = self._wakes[lane]
        while True:
            wake.clear()
            try:
                async with self._taking:
                    command = await self._queue.take(lane)
                    if command is not None:
                        self._here.add(command.name)
            except (RedisError, OSError) as error:
                log.warning("commands_waiting", lane=lane.value, error=type(error).__name__)
                self._doubt.set()
                await self._clock.sleep(_RETRY_S)
                continue
            if command is not None:
                try:
                    await self._run_one(command)
                finally:
                    self._here.discard(command.name)
                continue
            # A wake-up that was lost with a connection is made good by looking again.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await wake.wait()

    async def _run_one(self, command: Command) -> None:
        started_ms = await self._server_ms()
        if command.expired(started_ms):
            words = f"It waited {(started_ms - command.timestamp) / 1000:.0f} s for its turn: too long."
            await self._finish(command, Outcome.EXPIRED, words, {}, None)
            return
        self._history.note(
            self._teller.record(
                command, Outcome.RUNNING, received_ms=command.timestamp, started_ms=started_ms
            )
        )

        async def progress(facts: Mapping[str, Any]) -> None:
            try:
                at_ms = await server_ms(self._redis)
                reply = self._teller.reply(command, ReplyKind.PROGRESS, Outcome.RUNNING, at_ms, "", facts)
                await self._queue.tell(command, reply)
            except (RedisError, OSError) as error:
                # What takes hours does not end for a word about it.
                log.warning("progress_untold", type=command.type.value, error=type(error).__name__)

        try:
            result = await self._handlers[command.type](command, progress)
        except UsageError as error:
            await self._finish(command, Outcome.REFUSED, str(error), {}, started_ms)
        except (LivermoreError, psycopg.Error, RedisError, OSError) as error:
            words = str(error) or type(error).__name__
            log.warning("command_failed", type=command.type.value, error=words)
            await self._finish(command, Outcome.FAILED, words, {}, started_ms)
        except Exception as error:
            # A command is answered, and none ends the instance that runs it.
            log.exception("command_broke", type=command.type.value)
            words = f"{command.type.value} broke inside ({type(error).__name__}); see the instance's log."
            await self._finish(command, Outcome.FAILED, words, {}, started_ms)
        else:
            await self._finish(command, Outcome.DONE, "", result, started_ms)

    async def _server_ms(self) -> int:
        """Asked until Redis says it: a command that was taken is not forgotten."""
        while True:
            try:
                return await server_ms(self._redis)
            except (RedisError, OSError) as error:
                log.warning("commands_waiting", error=type(error).__name__)
                await self._clock.sleep(_RETRY_S)

    async def _answer_orphans(self) -> None:
        """At the start, after each word lost with Redis, and now and then for what a server did late."""
        words = "What ran this ended, or lost Redis, before it was done; whether it took effect is not known."
        while True:
            self._doubt.clear()
            try:
                async with self._taking:
                    orphans = await self._queue.orphans(self._here)
                for command in orphans:
                    await self._finish(command, Outcome.FAILED, words, {}, None)
            except (RedisError, OSError) as error:
                log.warning("orphans_waiting", error=type(error).__name__)
                await self._clock.sleep(_RETRY_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await self._doubt.wait()

    async def _finish(
        self,
        command: Command,
        outcome: Outcome,
        error: str,
        result: Mapping[str, Any],
        started_ms: int | None,
    ) -> None:
        """Answers until the answer is in Redis: a command is answered, whatever happens."""
        while True:
            try:
                at_ms = await server_ms(self._redis)
                kind = ReplyKind.RESULT if outcome is Outcome.DONE else ReplyKind.ERROR
                reply = self._teller.reply(command, kind, outcome, at_ms, error, result, started_ms)
                await self._queue.finish(command, reply)
                break
            except (RedisError, OSError) as trouble:
                log.warning("answer_waiting", type=command.type.value, error=type(trouble).__name__)
                await self._clock.sleep(_RETRY_S)
        self._history.note(
            self._teller.record(
                command,
                outcome,
                received_ms=command.timestamp,
                started_ms=started_ms,
                finished_ms=at_ms,
                error=error,
                result=result,
            )
        )
