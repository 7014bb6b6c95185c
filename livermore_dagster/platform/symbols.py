"""Whether the symbols asked for can be had, before an exchange is started with them."""

from __future__ import annotations

import asyncio

import psycopg

from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.postgres.connect import conninfo
from livermore_dagster.stores.postgres.symbols import require_symbols
from livermore_dagster.stores.redis.desired import SymbolChoice

__all__ = ["check_symbols"]


def check_symbols(settings: Settings, row: ExchangeRow, choice: SymbolChoice) -> None:
    """Raises UnknownSymbol where the stored list says so; without list or database the exchange will say."""

    async def check() -> None:
        address = conninfo(settings.database_url, settings.database_ca)
        async with await psycopg.AsyncConnection.connect(address, connect_timeout=5) as connection:
            await require_symbols(connection, row.id, row.name, choice.listed)

    if choice.listed:
        try:
            asyncio.run(check())
        except psycopg.Error:
            return
