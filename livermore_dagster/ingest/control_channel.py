"""The control channel of one instance: open from its claim to its end, in every state (C1)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from livermore_dagster.control.commands.executor import CommandExecutor, Handler
from livermore_dagster.control.commands.message import CommandType
from livermore_dagster.control.commands.receiver import CommandReceiver
from livermore_dagster.control.status import InstanceStatus
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.context import ExchangeContext, Servers
from livermore_dagster.stores.postgres.commands import CommandRecord
from livermore_dagster.stores.postgres.connect import conninfo
from livermore_dagster.stores.redis.client import connect

__all__ = ["ControlChannel"]


class ControlChannel:
    """Hears in a thread of its own, so that a busy loop delays no acknowledgement; runs in the loop."""

    def __init__(
        self,
        ctx: ExchangeContext,
        servers: Servers,
        status: InstanceStatus,
        handlers: Mapping[CommandType, Handler],
    ) -> None:
        """`status`: of the claim under which commands are taken. Needs a running loop."""
        loop = asyncio.get_running_loop()
        self._executor = CommandExecutor(
            ctx.redis, ctx.pool, ctx.row.id, token=status.token, instance_id=status.instance_id,
            handlers=handlers, clock=ctx.clock,
        )  # fmt: skip

        def heard(records: Sequence[CommandRecord]) -> None:
            loop.call_soon_threadsafe(self._executor.heard, records)

        self._receiver = CommandReceiver(
            lambda: connect(servers.redis_url, encoding_errors="replace"),
            conninfo(servers.database_url, servers.database_ca),
            ctx.row.id,
            ctx.row.name,
            token=status.token,
            instance_id=status.instance_id,
            known_exchanges=[row.name for row in ROWS],
            on_heard=heard,
            is_full=lambda: self._executor.full,
        )

    async def listen(self) -> None:
        """Returns once it hears, or tries on after a few seconds."""
        await asyncio.to_thread(self._receiver.start)

    async def run(self) -> None:
        """Part: until cancelled."""
        await self._executor.run()

    async def close(self) -> None:
        await asyncio.to_thread(self._receiver.stop)
