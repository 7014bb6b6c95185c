"""All that reading one account takes: its row, signed client, product list, tables, and nobody else at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection
from redis.asyncio import Redis

from livermore_dagster.accounts.listing import store_products
from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.errors import AccountBusy, BadSetting
from livermore_dagster.exchanges.account_client import AccountClient
from livermore_dagster.exchanges.account_contract import Credentials
from livermore_dagster.exchanges.client import ExchangeClient
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.exchanges.credentials import from_environment
from livermore_dagster.exchanges.factory import account_client_for, client_for, require_active, row_named
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.moments import clock_text
from livermore_dagster.stores.postgres.account_lock import (
    AccountReader,
    find_account_reader,
    lock_account,
    unlock_account,
)
from livermore_dagster.stores.postgres.connect import Pool, open_pool
from livermore_dagster.stores.postgres.exchanges import load_exchanges
from livermore_dagster.stores.postgres.symbols import load_symbols
from livermore_dagster.stores.postgres.user_exchanges import AccountRow, read_accounts
from livermore_dagster.stores.redis.client import connect_async, refuse_cluster
from livermore_dagster.stores.servers import Servers

__all__ = [
    "AccountSession",
    "StoredAccount",
    "credentials_of",
    "open_account",
    "open_stored",
    "require_account",
]


@dataclass(slots=True)
class AccountSession:
    """One account while it is read; no other session of it is open anywhere."""

    account: AccountRow
    row: ExchangeRow
    client: AccountClient
    public: ExchangeClient
    pool: Pool
    redis: Redis
    clock: Clock
    _products: dict[str, Product] = field(default_factory=dict)

    async def products(self) -> Mapping[str, Product]:
        """The exchange's products by symbol: as they are stored, else asked for once and stored."""
        if not self._products:
            async with self.pool.connection() as connection:
                stored = await load_symbols(connection, self.row.id)
                if not stored:
                    await store_products(connection, self.row, await self.public.products(Priority.ACCOUNT))
                    stored = await load_symbols(connection, self.row.id)
            found = [Product(one.symbol, one.base, one.quote, one.trading, one.alias_of) for one in stored]
            self._products = {one.symbol: one for one in found}
        return self._products


def credentials_of(account: AccountRow, environment: Mapping[str, str] | None = None) -> Credentials:
    """Key and secret out of the variables the account names, of this process where no `environment` is given.

    Raises BadSetting, naming the variable and never its value, where one is missing.
    """
    if account.key_env is None or account.secret_env is None:
        raise BadSetting(
            f"Account {account.key} names no environment variables.",
            f"Name them: livermore account add {account.exchange} --key-env NAME --secret-env NAME.",
        )
    return from_environment(account.key_env, account.secret_env, environment)


async def require_account(
    connection: AsyncConnection[Any],
    exchange: str,
    *,
    account_id: int | None = None,
    sub: str | None = None,
) -> AccountRow:
    """The account of that id, or the user's at the exchange. Raises BadSetting naming what there is."""
    row = row_named(exchange, await load_exchanges(connection))
    found = await read_accounts(connection, account_id=account_id, sub=sub, exchange_id=row.id)
    if len(found) == 1:
        return found[0]
    known = await read_accounts(connection)
    wanted = f"account {exchange}.{account_id}" if account_id is not None else f"account at {exchange}"
    if not found:
        of = f" of user {sub!r}" if sub is not None else ""
        told = ", ".join(f"{one.key} ({one.sub})" for one in known) or "none yet"
        raise BadSetting(f"There is no {wanted}{of}.", f"Accounts: {told}. Add one: livermore account add.")
    users = ", ".join(one.sub for one in found)
    raise BadSetting(f"Several users have an {wanted}.", f"Say whose with --user: {users}.")


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """What is stored of an account; its exchange is not asked."""

    account: AccountRow
    pool: Pool
    redis: Redis
    clock: Clock


@asynccontextmanager
async def open_stored(
    account_id: int, exchange: str, servers: Servers, clock: Clock | None = None
) -> AsyncIterator[StoredAccount]:
    """Raises UnknownExchange, and BadSetting for an account that is not there."""
    pool = await open_pool(servers.database_url, servers.database_ca, name=f"livermore-account-{account_id}")
    try:
        async with pool.connection() as connection:
            account = await require_account(connection, exchange, account_id=account_id)
        redis = connect_async(servers.redis_url)
        try:
            yield StoredAccount(account, pool, redis, clock or SystemClock())
        finally:
            await redis.aclose()
    finally:
        await pool.close()


@asynccontextmanager
async def open_account(
    account_id: int,
    exchange: str,
    servers: Servers,
    clock: Clock | None = None,
    *,
    patience_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[AccountSession]:
    """The account, alone: waits until another reader of it is done, and closes at exit. `environment`: where
    its variables are, else in this process.

    Raises AccountBusy when it is not done within `patience_s`; UnknownExchange, InactiveExchange, and
    BadSetting for an account that is not there or whose variables are not set.
    """
    used = clock or SystemClock()
    pool = await open_pool(servers.database_url, servers.database_ca, name=f"livermore-account-{account_id}")
    try:
        async with pool.connection() as guard:
            rows = await load_exchanges(guard)
            row = require_active(row_named(exchange, rows), rows)
            account = await require_account(guard, exchange, account_id=account_id)
            credentials = credentials_of(account, environment)
            await guard.commit()
            await guard.set_autocommit(True)
            if not await lock_account(guard, account_id, patience_s):
                raise _busy(account, await find_account_reader(guard, account_id), patience_s)
            try:
                async with _clients(account, row, credentials, servers, pool, used) as session:
                    yield session
            finally:
                await unlock_account(guard, account_id)
                await guard.set_autocommit(False)
    finally:
        await pool.close()


def _busy(account: AccountRow, reader: AccountReader | None, patience_s: float | None) -> AccountBusy:
    who = "another process"
    if reader is not None:
        since = "" if reader.since_ms is None else f" since {clock_text(reader.since_ms)}"
        address = "" if reader.address is None else f", from {reader.address}"
        who += f"{since} (PostgreSQL session {reader.pid}{address})"
    return AccountBusy(
        f"Account {account.key} is read by {who}; waited {patience_s:g} s for it.",
        "Try again when that run or command has ended; one that hangs ends with its process.",
    )


@asynccontextmanager
async def _clients(
    account: AccountRow,
    row: ExchangeRow,
    credentials: Credentials,
    servers: Servers,
    pool: Pool,
    clock: Clock,
) -> AsyncIterator[AccountSession]:
    redis = connect_async(servers.redis_url)
    try:
        await refuse_cluster(redis)
        client = account_client_for(row, credentials, redis, clock)
        public = client_for(row, redis, clock)
        try:
            yield AccountSession(account, row, client, public, pool, redis, clock)
        finally:
            await public.close()
            await client.close()
    finally:
        await redis.aclose()
