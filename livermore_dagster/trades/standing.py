"""Where an account stands now: its fee tier and what it holds."""

from __future__ import annotations

import json
from collections.abc import Sequence

from livermore_dagster.market.trades import Balance, FeeTier
from livermore_dagster.stores.postgres.balances import replace_balances
from livermore_dagster.stores.postgres.fee_tiers import insert_fee_tier
from livermore_dagster.stores.redis import keys
from livermore_dagster.trades.session import AccountSession

__all__ = ["read_held", "read_tiers"]


async def read_tiers(session: AccountSession) -> dict[str, FeeTier]:
    """The tier now, by market ('' where it holds for all); kept where it says something new."""
    markets: Sequence[str] = session.account.markets if session.client.tiers_by_market else [""]
    found = {market: await session.client.fee_tier(market or None) for market in markets}
    async with session.pool.connection() as connection:
        for market, tier in found.items():
            await insert_fee_tier(connection, session.account.id, tier, session.clock.now_ms(), market)
    return found


async def read_held(session: AccountSession) -> list[Balance]:
    """What the account holds now, kept in place of what it held before; who monitors by it hears of it."""
    balances = await session.client.balances()
    async with session.pool.connection() as connection:
        await replace_balances(connection, session.account.id, balances, session.clock.now_ms())
    told = {"exchange_id": session.row.id, "exchange": session.row.name, "account": session.account.key}
    await session.redis.publish(keys.CHANNEL_SYMBOLS, json.dumps(told))
    return balances
