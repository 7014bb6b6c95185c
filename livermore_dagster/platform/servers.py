"""The two servers of one start, embedded or outside, and what must be true of them first."""

from __future__ import annotations

import asyncio
import getpass
import os
from dataclasses import dataclass

import psycopg

from livermore_dagster.accounts.users import LOCAL, ensure_local_admin
from livermore_dagster.errors import PlatformError
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform import schema
from livermore_dagster.platform.child import ChildSpec
from livermore_dagster.platform.children import child_environment
from livermore_dagster.platform.config import USER, Settings
from livermore_dagster.platform.embedded import EmbeddedPostgres, EmbeddedValkey
from livermore_dagster.platform.home import Home
from livermore_dagster.platform.options import UpOptions
from livermore_dagster.platform.processes import TOKEN
from livermore_dagster.stores.postgres.connect import conninfo, no_answer
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.postgres.provenance import claim_provenance as claim_database
from livermore_dagster.stores.postgres.users import User, read_users
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.provenance import claim_provenance

__all__ = ["Servers", "check_redis", "local_user", "prepare_database", "write_rows"]


@dataclass(frozen=True)
class Servers:
    """Where data lives in this start."""

    home: Home
    options: UpOptions

    @property
    def valkey(self) -> EmbeddedValkey:
        return EmbeddedValkey(self.home.path / "valkey", self.home.sockets / "valkey")

    @property
    def postgres(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self.home.path / "postgres" / "data", self.home.sockets / "pg")

    def settings(self) -> Settings:
        return Settings(
            home=self.home.path,
            redis_url=self.options.redis_url or self.valkey.url,
            database_url=self.options.database_url or self.postgres.url,
            provenance=self.options.provenance,
            database_ca=self.options.database_ca,
            user=os.environ.get(USER) or None,
        )

    def specs(self, token: str) -> list[ChildSpec]:
        """Embedded servers to run; none for a server that is given."""
        found = []
        environment = child_environment({TOKEN: token})
        if self.options.redis_url is None:
            valkey = self.valkey
            found.append(
                ChildSpec(
                    "valkey",
                    tuple(valkey.command()),
                    valkey.url,
                    self.home.logs / "valkey.log",
                    ready=valkey.ready,
                    environment=environment,
                    prepare=valkey.prepare,
                )
            )
        if self.options.database_url is None:
            postgres = self.postgres
            found.append(
                ChildSpec(
                    "postgresql",
                    tuple(postgres.command()),
                    f"unix:{postgres.sockets}/.s.PGSQL.5432",
                    self.home.logs / "postgresql.log",
                    ready=postgres.ready,
                    environment=environment,
                    os_user=postgres.os_user,
                    prepare=postgres.prepare,
                )
            )
        return found


def check_redis(settings: Settings) -> None:
    """Reachable, no cluster, our provenance, never forgetting (R13)."""
    client = connect(settings.redis_url)
    try:
        claim_provenance(client, settings.provenance)
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            raise PlatformError(
                f"This Redis forgets keys when it is full (maxmemory-policy {policy}).",
                "Set it to noeviction: a forgotten candle or close is lost.",
            )
    finally:
        client.close()


def prepare_database(settings: Settings) -> bool:
    """schema.sql into an empty database, a check of any other, the stamp; True when it was empty."""
    address = conninfo(settings.database_url, settings.database_ca)
    try:
        connection = psycopg.connect(address, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise no_answer(error) from None
    with connection:
        fresh = schema.apply_to_empty(connection)
        connection.commit()
        if not fresh:
            schema.check_schema(connection)
        connection.commit()
        claim_database(connection, settings.provenance)
    return fresh


def write_rows(settings: Settings, rows: tuple[ExchangeRow, ...]) -> None:
    """The six exchanges, idempotently (X1)."""

    async def write() -> None:
        address = conninfo(settings.database_url, settings.database_ca)
        async with await psycopg.AsyncConnection.connect(address) as connection:
            await upsert_rows(connection, rows)

    asyncio.run(write())


def local_user(settings: Settings) -> tuple[User | None, bool]:
    """The user that this machine's commands act for, and whether he was made just now.

    The first start of a platform without users makes one, an admin named as the operating system's user; on a
    platform that has users but not this one, none.
    """
    login = getpass.getuser()

    async def find() -> tuple[User | None, bool]:
        address = conninfo(settings.database_url, settings.database_ca)
        async with await psycopg.AsyncConnection.connect(address) as connection:
            made = await ensure_local_admin(connection, login)
            if made is not None:
                return made, True
            known = await read_users(connection, f"{LOCAL}:{login}")
            return next((user for user in known if user.active), None), False

    return asyncio.run(find())
