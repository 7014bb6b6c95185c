"""The platform's two stores, open for the length of one command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    import redis.asyncio
    from psycopg import AsyncConnection

    from livermore_dagster.platform.config import Settings

__all__ = ["Home", "Json", "StoreSession", "User", "in_session"]

T = TypeVar("T")

Home = Annotated[Path | None, typer.Option(metavar="DIR", help="Which platform, where several run.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
User = Annotated[
    str | None, typer.Option("--user", metavar="SUB", help="Who it is for; else LIVERMORE_USER.")
]


@dataclass(frozen=True)
class StoreSession:
    """`connection` commits when the command ends well; `user` is who the command acts for."""

    settings: Settings
    connection: AsyncConnection[Any]
    redis: redis.asyncio.Redis
    option: str | None

    @property
    def user(self) -> str:
        """Raises BadSetting where neither --user nor the home says who."""
        return self.settings.acting_user(self.option)


def in_session(work: Callable[[StoreSession], Awaitable[T]], home: Path | None, user: str | None = None) -> T:
    """Runs `work` over the platform's stores and returns what it returns."""

    async def run() -> T:
        async with _open(home, user) as session:
            return await work(session)

    return asyncio.run(run())


@asynccontextmanager
async def _open(home: Path | None, user: str | None) -> AsyncIterator[StoreSession]:
    import psycopg

    from livermore_dagster.platform.attach import attach
    from livermore_dagster.stores.postgres.connect import conninfo
    from livermore_dagster.stores.redis.client import connect_async

    settings = await asyncio.to_thread(attach, home)
    address = conninfo(settings.database_url, settings.database_ca)
    client = connect_async(settings.redis_url)
    try:
        async with await psycopg.AsyncConnection.connect(address, connect_timeout=10) as connection:
            yield StoreSession(settings, connection, client, user)
    finally:
        await client.aclose()
