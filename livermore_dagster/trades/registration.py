"""Accounts: registered by the names of environment variables, tried, listed, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from psycopg import AsyncConnection
from redis.asyncio import Redis

from livermore_dagster.accounts.settings import load
from livermore_dagster.accounts.settings_document import ExchangeSettings
from livermore_dagster.accounts.users import require_user
from livermore_dagster.clock import Clock
from livermore_dagster.errors import BadSetting, UnknownSymbol
from livermore_dagster.exchanges.account_contract import Credentials
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.exchanges.credentials import from_environment, require_variable_name
from livermore_dagster.exchanges.factory import account_client_for, client_for
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.stores.postgres.user_exchanges import (
    AccountRow,
    delete_account,
    read_accounts,
    upsert_account,
)
from livermore_dagster.stores.redis.account_events import AccountEvent, append_event

__all__ = ["add_account", "remove_account", "try_account", "variables_of"]


async def variables_of(
    connection: AsyncConnection[Any], row: ExchangeRow, sub: str, key_env: str | None, secret_env: str | None
) -> tuple[str, str]:
    """Names of the variables that hold key and secret: as given, else as the user's settings say.

    Raises BadSetting for one that neither names, UnknownUser and InactiveUser.
    """
    if key_env is not None and secret_env is not None:
        return key_env, secret_env
    known = (await load(connection, sub)).document.exchanges.get(row.name, ExchangeSettings())
    names = (key_env or known.key_env, secret_env or known.secret_env)
    for name, option in zip(names, ("key_env", "secret_env"), strict=True):
        if name is None:
            raise BadSetting(
                f"No variable is named for {row.name}'s {option.removesuffix('_env')}.",
                f"Give --{option.replace('_', '-')} NAME, or once, in your settings: livermore settings "
                f'set exchanges.{row.name} \'{{"key_env": "NAME", "secret_env": "NAME"}}\'',
            )
    return cast("tuple[str, str]", names)


async def add_account(
    connection: AsyncConnection[Any],
    redis: Redis,
    row: ExchangeRow,
    sub: str,
    key_env: str,
    secret_env: str,
    markets: Sequence[str],
    clock: Clock,
) -> AccountRow:
    """Stores the names once the exchange has accepted what they hold, and tells that the account is there.

    Raises BadSetting (a name that is none, a variable that is not set, markets missing), UnknownUser,
    UnknownSymbol, CredentialsRefused and whatever else the exchange answers.
    """
    require_variable_name(key_env)
    require_variable_name(secret_env)
    user = await require_user(connection, sub)
    await try_account(redis, row, from_environment(key_env, secret_env), markets, clock)
    account_id = await upsert_account(connection, user.id, row.id, key_env, secret_env, markets)
    await connection.commit()
    await append_event(redis, AccountEvent(row.id, account_id, "added", clock.now_ms()))
    return (await read_accounts(connection, account_id=account_id))[0]


async def try_account(
    redis: Redis, row: ExchangeRow, credentials: Credentials, markets: Sequence[str], clock: Clock
) -> None:
    """One signed call. Raises as the exchange refuses it, and for markets it does not have."""
    client = account_client_for(row, credentials, redis, clock)
    try:
        if client.by_market and not markets:
            raise BadSetting(
                f"{row.name} tells an account's trades market by market.",
                "Name those you trade: --markets BTCUSDT,ETHUSDT.",
            )
        if not client.by_market and markets:
            raise BadSetting(
                f"{row.name} tells all trades of an account at once.", "Leave --markets out: it takes none."
            )
        await client.check()
    finally:
        await client.close()
    if markets:
        await _check_markets(redis, row, markets, clock)


async def _check_markets(redis: Redis, row: ExchangeRow, markets: Sequence[str], clock: Clock) -> None:
    public = client_for(row, redis, clock)
    try:
        known = [product.symbol for product in await public.products(Priority.ACCOUNT)]
    finally:
        await public.close()
    for market in markets:
        if market not in known:
            raise UnknownSymbol(market, row.name, known)


async def remove_account(
    connection: AsyncConnection[Any], redis: Redis, account: AccountRow, clock: Clock
) -> None:
    """Forgets the account and everything read of it, and tells so."""
    await delete_account(connection, account.id)
    await connection.commit()
    await append_event(redis, AccountEvent(account.exchange_id, account.id, "removed", clock.now_ms()))
