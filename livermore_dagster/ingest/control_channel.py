"""The control channel of one instance: open from its claim to its end, in every state (C1)."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import Process
from collections.abc import Mapping
from typing import Final

from livermore_dagster.control.commands.ears import Ears, Hearing
from livermore_dagster.control.commands.executor import CommandExecutor, Handler
from livermore_dagster.control.commands.message import CommandType
from livermore_dagster.control.status import InstanceStatus
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.context import ExchangeContext, Servers
from livermore_dagster.stores.postgres.connect import conninfo

__all__ = ["ControlChannel"]

_LISTENS_S: Final = 5.0


class ControlChannel:
    """Hears in a process of its own, so that a busy loop delays no acknowledgement; runs in the loop."""

    def __init__(
        self,
        ctx: ExchangeContext,
        servers: Servers,
        status: InstanceStatus,
        handlers: Mapping[CommandType, Handler],
        ears: Process,
    ) -> None:
        """`status`: of the claim under which commands are taken. `ears`: what hears them at first. Needs a
        running loop."""
        self._executor = CommandExecutor(
            ctx.redis, ctx.pool, ctx.row.id, token=status.token, instance_id=status.instance_id,
            handlers=handlers, clock=ctx.clock,
        )  # fmt: skip
        hearing = Hearing(
            servers.redis_url,
            conninfo(servers.database_url, servers.database_ca),
            ctx.row.id,
            ctx.row.name,
            status.token,
            status.instance_id,
            [row.name for row in ROWS],
        )
        self._ears = Ears(
            hearing, ctx.clock, on_heard=self._executor.heard, is_full=lambda: self._executor.full, grown=ears
        )

    async def listen(self) -> None:
        """Returns once it hears, or tries on after a few seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LISTENS_S):
                await self._ears.listening.wait()

    async def run(self) -> None:
        """Part: until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ears.run())
            tasks.create_task(self._executor.run())
