"""What commands that read a series share: servers, exchange, canonical symbol, timeframe (R6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from redis.asyncio import Redis

    from livermore_dagster.market.exchange import ExchangeRow
    from livermore_dagster.market.timeframe import Timeframe
    from livermore_dagster.platform.config import Settings
    from livermore_dagster.stores.postgres.connect import Pool

__all__ = [
    "Series",
    "Stores",
    "active_rows",
    "canonical_symbol",
    "find_exchange",
    "find_series",
    "open_stores",
]


@dataclass(frozen=True, slots=True)
class Stores:
    """One command's connections."""

    redis: Redis
    pool: Pool


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Redis and PostgreSQL of the platform, closed at exit."""
    from livermore_dagster.stores.postgres.connect import open_pool
    from livermore_dagster.stores.redis.client import connect_async

    redis = connect_async(settings.redis_url)
    try:
        pool = await open_pool(settings.database_url, settings.database_ca, name="livermore-cli", wait=True)
        try:
            yield Stores(redis, pool)
        finally:
            await pool.close()
    finally:
        await redis.aclose()


@dataclass(frozen=True)
class Series:
    row: ExchangeRow
    symbol: str
    """Canonical: an alias given has been followed."""
    timeframe: Timeframe

    @property
    def why(self) -> str:
        """What to do where nothing is stored."""
        if self.timeframe not in self.row.streamed_timeframes and self.timeframe.ms < 900_000:
            history = f"livermore backfill {self.row.name} --timeframes {self.timeframe.value}"
            return f"{self.row.name} does not stream {self.timeframe.value}; for its history: {history}"
        return f"Is {self.row.name} started with that symbol? See: livermore status"


async def find_series(pool: Pool, exchange: str, symbol: str, timeframe: str) -> Series:
    """Raises what names the wrong exchange, symbol or timeframe (R6)."""
    from livermore_dagster.errors import UnsupportedTimeframe
    from livermore_dagster.market.timeframe import Timeframe

    wanted = Timeframe.parse(timeframe)
    async with pool.connection() as connection:
        row = await find_exchange(connection, exchange)
        if wanted not in row.timeframes:
            raise UnsupportedTimeframe(timeframe, exchange, [tf.value for tf in row.timeframes])
        return Series(row, await canonical_symbol(connection, row, symbol), wanted)


async def find_exchange(connection: AsyncConnection[Any], name: str) -> ExchangeRow:
    """Raises UnknownExchange or InactiveExchange."""
    from livermore_dagster.exchanges.factory import require_active, row_named
    from livermore_dagster.stores.postgres.exchanges import load_exchanges

    rows = await load_exchanges(connection)
    return require_active(row_named(name, rows), rows)


async def active_rows(connection: AsyncConnection[Any], names: list[str]) -> list[ExchangeRow]:
    """Rows of the exchanges named, in that order; of all active ones where none is named.

    Raises UnknownExchange or InactiveExchange.
    """
    from livermore_dagster.exchanges.factory import require_active, row_named
    from livermore_dagster.stores.postgres.exchanges import load_exchanges

    rows = await load_exchanges(connection)
    if names:
        return [require_active(row_named(name, rows), rows) for name in dict.fromkeys(names)]
    return [row for row in rows if row.active]


async def canonical_symbol(connection: AsyncConnection[Any], row: ExchangeRow | None, symbol: str) -> str:
    """The id under which a symbol's data is kept, on one exchange or any. Raises UnknownSymbol."""
    from livermore_dagster.errors import UnknownSymbol
    from livermore_dagster.stores.postgres.symbols import read_canonical_symbols

    known = await read_canonical_symbols(connection, row.id if row is not None else None)
    if symbol not in known:
        raise UnknownSymbol(symbol, row.name if row is not None else "any exchange", known)
    return known[symbol]
