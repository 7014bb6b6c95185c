"""The `exchange_symbols` table: what an exchange lists, and its rank by volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.errors import UnknownSymbol
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["SymbolRow", "load_symbols", "require_symbol", "upsert_symbols"]


@dataclass(frozen=True, slots=True)
class SymbolRow:
    """One listed market. `volume_rank` counts from 1 within Tier 1, None outside it.

    `quote_volume_24h_usd` is canonical decimal text in USD.
    """

    symbol: str
    base: str
    quote: str
    trading: bool
    alias_of: str | None = None
    quote_volume_24h_usd: str | None = None
    trades_24h: int | None = None
    volume_rank: int | None = None
    listed_ms: int | None = None


async def upsert_symbols(
    connection: AsyncConnection[Any], exchange_id: int, rows: Sequence[SymbolRow], *, whole_list: bool = True
) -> None:
    """Stores the exchange's list. With `whole_list` a symbol missing from it is marked as not trading."""
    async with connection.transaction(), connection.cursor() as cursor:
        if whole_list:
            given = {"exchange_id": exchange_id, "symbols": [row.symbol for row in rows]}
            await cursor.execute(sql("retire_symbols"), given)
        await cursor.executemany(sql("upsert_symbols"), [_parameters(exchange_id, row) for row in rows])


def _parameters(exchange_id: int, row: SymbolRow) -> dict[str, Any]:
    return {
        "exchange_id": exchange_id,
        "symbol": row.symbol,
        "base": row.base,
        "quote": row.quote,
        "trading": row.trading,
        "alias_of": row.alias_of,
        "quote_volume_24h_usd": row.quote_volume_24h_usd,
        "trades_24h": row.trades_24h,
        "volume_rank": row.volume_rank,
        "listed_ms": row.listed_ms,
    }


async def load_symbols(connection: AsyncConnection[Any], exchange_id: int) -> list[SymbolRow]:
    """All symbols of an exchange: ranked ones first, in rank order, then the rest by name."""
    rows = await (await connection.execute(sql("read_symbols"), {"exchange_id": exchange_id})).fetchall()
    return [SymbolRow(*row) for row in rows]


async def require_symbol(
    connection: AsyncConnection[Any], exchange_id: int, exchange_name: str, symbol: str
) -> SymbolRow:
    """The symbol's canonical row, aliases followed. Raises UnknownSymbol."""
    rows = {row.symbol: row for row in await load_symbols(connection, exchange_id)}
    row = rows.get(symbol)
    if row is not None and row.alias_of is not None:
        row = rows.get(row.alias_of, row)
    if row is None:
        raise UnknownSymbol(symbol, exchange_name, rows)
    return row
