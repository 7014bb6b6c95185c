"""The notifier: hears of alerts, decides whom to tell, and tells them; one per platform.

It is woken by what is published (`channel:alerts:*`, changed settings) and looks into the tables at its
start, after every failure and every few seconds: nothing depends on a message that was lost. Nothing waits
for it: whatever fails here is told, tried again, and delays nobody else.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import psycopg
import structlog

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.control.service_process import ServiceEnvironment
from livermore_dagster.notify.company import Company
from livermore_dagster.notify.instances import watch_instances
from livermore_dagster.notify.keeping import Part, keep
from livermore_dagster.notify.listening import listen_to_incidents, listen_to_messages
from livermore_dagster.notify.painter import Painter
from livermore_dagster.notify.router import ExchangeClocks, Left, Router
from livermore_dagster.stores.postgres.connect import conninfo, open_pool
from livermore_dagster.stores.postgres.exchanges import load_exchanges
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async

__all__ = ["Notifier"]

_log = structlog.get_logger(__name__)
_ALONE: Final = 0x4C56_4E4F
"""The advisory lock that one notifier of a database holds."""
_ALONE_LOOK_S: Final = 2.0
_BEAT_S: Final = 15.0
_STATE_TTL_S: Final = 45
_OLD_LOOK_S: Final = 600.0
_LOOK_S: Final = 3.0
"""A look into the table without a message, which may have been lost."""
_HELD_S: Final = 0.05


class Notifier:
    """Runs until it is cancelled."""

    def __init__(self, addresses: ServiceEnvironment, clock: Clock | None = None) -> None:
        self._addresses = addresses
        self._clock = clock or SystemClock()
        self._simulated = addresses.provenance.startswith("sim:")
        self._route = asyncio.Event()
        self._settings = asyncio.Event()
        self._news = asyncio.Event()
        self.ready = asyncio.Event()
        """Alone, its settings read, listening."""

    async def run(self) -> None:
        while True:
            try:
                async with self._alone():
                    await self._work()
            except Exception as error:  # noqa: BLE001 - a server that is away comes back
                _log.warning("notifier_waits", error=_words(error))
            self.ready.clear()
            await self._clock.sleep(_ALONE_LOOK_S)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Holds the lock; its loss cancels what runs inside."""
        address = conninfo(self._addresses.database_url, self._addresses.database_ca)
        async with await psycopg.AsyncConnection.connect(
            address, autocommit=True, connect_timeout=5, application_name="livermore-notifier-lock"
        ) as connection:
            told = False
            while True:
                row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", [_ALONE])).fetchone()
                if row and row[0]:
                    break
                if not told:
                    _log.info("another_notifier_works")
                    told = True
                await self._clock.sleep(_ALONE_LOOK_S)
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch_lock(connection))
                yield
                watching.cancel()

    async def _watch_lock(self, connection: psycopg.AsyncConnection) -> None:
        while True:
            await self._clock.sleep(_ALONE_LOOK_S)
            try:
                await connection.execute("SELECT 1")
            except psycopg.Error:
                raise _Lost("the lock of the only notifier was lost") from None

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            client = connect_async(self._addresses.redis_url)
            stack.push_async_callback(client.aclose)
            pool = await open_pool(
                self._addresses.database_url,
                self._addresses.database_ca,
                max_size=6,
                name="livermore-notify",
                wait=False,
            )
            stack.push_async_callback(pool.close)
            painter = Painter()
            stack.push_async_callback(painter.close)
            clocks = ExchangeClocks(client)
            router = Router(pool, clocks, self._clock, simulated=self._simulated)
            company = Company(
                client, pool, painter, clocks, self._clock, simulated=self._simulated, changed=self._news.set
            )
            stack.push_async_callback(company.close)
            async with pool.connection() as connection:
                company.rows = {row.name: row for row in await load_exchanges(connection)}
            await self._together(
                {
                    "settings": lambda: self._follow_settings(router, company),
                    "routing": lambda: self._follow_alerts(router, company),
                    "messages": lambda: listen_to_messages(client, self._route, self._settings),
                    "incidents": lambda: listen_to_incidents(
                        client, company, self._clock, simulated=self._simulated
                    ),
                    "instances": lambda: watch_instances(
                        self._addresses.redis_url,
                        [row for row in company.rows.values() if row.active],
                        company.say_to_admins,
                        self._clock,
                        simulated=self._simulated,
                    ),
                    "state": lambda: self._beat(router, company),
                    "old": lambda: self._forget(company),
                }
            )

    async def _together(self, parts: dict[str, Part]) -> None:
        async with asyncio.TaskGroup() as group:
            for name, part in parts.items():
                group.create_task(keep(name, part, self._clock), name=name)

    async def _follow_settings(self, router: Router, company: Company) -> None:
        self._settings.set()
        while True:
            await self._settings.wait()
            self._settings.clear()
            router.users = await company.take_settings()
            self.ready.set()
            self._route.set()

    async def _follow_alerts(self, router: Router, company: Company) -> None:
        # Judged before the settings are known, nobody would be told.
        await self.ready.wait()
        # What failed here last time may have failed after its deliveries were stored.
        company.wake_all()
        while True:
            self._route.clear()
            left: Left = "more"
            while left != "nothing":
                routed = await router.route_some()
                company.wake(routed.places)
                left = routed.left
                if left == "held":
                    await self._clock.sleep(_HELD_S)
            await self._woken(self._route, _LOOK_S)

    async def _beat(self, router: Router, company: Company) -> None:
        """Writes the state when it has changed, and from time to time."""
        while True:
            self._news.clear()
            facts = {
                "pid": os.getpid(),
                "hostname": socket.gethostname(),
                "at_ms": self._clock.now_ms(),
                # Sum of the settings' revisions it judges by: who changed some can wait for that.
                "revisions": sum(user.revision for user in router.users),
                "channels": company.states(),
            }
            await company.write_state(keys.NOTIFIER, facts, _STATE_TTL_S)
            await self._woken(self._news, _BEAT_S)

    async def _woken(self, event: asyncio.Event, within_s: float) -> None:
        """Until `event` is set, or `within_s` have passed."""
        waiting = asyncio.create_task(event.wait())
        sleeping = asyncio.create_task(self._clock.sleep(within_s))
        try:
            await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            sleeping.cancel()

    async def _forget(self, company: Company) -> None:
        await self.ready.wait()
        while True:
            await company.expire()
            await self._clock.sleep(_OLD_LOOK_S)


class _Lost(Exception):
    """Another notifier may be at work by now."""


def _words(error: Exception) -> str:
    inner = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    return f"{type(inner).__name__}: {inner}"
