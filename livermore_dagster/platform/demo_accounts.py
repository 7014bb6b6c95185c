"""The accounts that every simulated exchange has: their variables, and their registration where it is wanted.

Their keys are made of the seed, open nothing but a simulator on loopback, and so are no secrets.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

import httpx
import psycopg

from livermore_dagster.clock import SystemClock
from livermore_dagster.errors import PlatformError
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.platform.addresses import Doors
from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.postgres.connect import conninfo
from livermore_dagster.stores.postgres.user_exchanges import read_accounts, upsert_account
from livermore_dagster.stores.postgres.users import read_users
from livermore_dagster.stores.redis.account_events import AccountEvent, append_event
from livermore_dagster.stores.redis.client import connect_async

__all__ = ["demo_environment", "register_demo_accounts", "shell_environment"]

_PLAYED = ("coinbase", "binance", "binance_us")
_ACCOUNT = "demo"
_DRAWN_WITHIN_S = 60.0


def _names(exchange: str) -> tuple[str, str]:
    return f"SIMULATED_{exchange.upper()}_KEY", f"SIMULATED_{exchange.upper()}_SECRET"


def demo_environment(provenance: str) -> dict[str, str]:
    """Keys and secrets of a simulation's accounts by variable; nothing for a live home."""
    _, _, seed = provenance.partition("sim:")
    if not seed.lstrip("-").isdigit():
        return {}
    from livermore_dagster.simulator.accounts.keys import demo_credentials

    found: dict[str, str] = {}
    for exchange in _PLAYED:
        key, secret = demo_credentials(int(seed), exchange)
        # One line: that is how variables are given, and read.
        values = (key, secret.replace("\n", "\\n"))
        found.update(zip(_names(exchange), values, strict=True))
    return found


def shell_environment(provenance: str) -> Mapping[str, str]:
    """This process' variables with those of a simulation's accounts, as `up` gives them to its own; what the
    shell has set stands."""
    return {**demo_environment(provenance), **os.environ}


def register_demo_accounts(settings: Settings, doors: Mapping[str, Doors]) -> list[str]:
    """Names of the accounts registered now, for the user of this home; those known already stay as they are.

    A simulated exchange that wants its markets named says which its account has traded.
    """

    async def register() -> list[str]:
        address = conninfo(settings.database_url, settings.database_ca)
        redis = connect_async(settings.redis_url)
        try:
            async with await psycopg.AsyncConnection.connect(address) as connection:
                user = next(iter(await read_users(connection, settings.user)), None)
                if user is None:
                    return []
                known = {one.exchange for one in await read_accounts(connection, sub=user.sub)}
                events = []
                for exchange in (
                    name for name in ("coinbase", "binance") if name not in known and name in doors
                ):
                    row = row_named(exchange)
                    markets = await _markets(doors[exchange]) if exchange != "coinbase" else []
                    account = await upsert_account(connection, user.id, row.id, *_names(exchange), markets)
                    events.append(AccountEvent(row.id, account, "added", SystemClock().now_ms()))
                await connection.commit()
                for event in events:
                    await append_event(redis, event)
                ids = {event.account_id for event in events}
                return [one.key for one in await read_accounts(connection, sub=user.sub) if one.id in ids]
        finally:
            await redis.aclose()

    return asyncio.run(register())


async def _markets(door: Doors) -> list[str]:
    async with httpx.AsyncClient(timeout=_DRAWN_WITHIN_S) as client:
        url = f"{door.control_url.rstrip('/')}/account-truth"
        try:
            reply = await client.get(url, params={"account": _ACCOUNT, "part": "orders"})
            return sorted({order["symbol"] for order in reply.raise_for_status().json()["orders"]})
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise PlatformError(f"The simulator does not tell its account's trades: {error}.") from None
