"""The `exchange_symbols` table: what an exchange lists, and its rank by volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.errors import UnknownSymbol
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["SymbolRow", "load_symbols", "read_canonical_symbols", "require_symbols", "upsert_symbols"]


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
    listed: bool = True
    """False once the exchange has dropped it; listed and not trading is halted."""
    price: str | None = None
    """In quote currency, canonical decimal text, as of the list."""
    change_24h_pct: str | None = None
    spread_bps: float | None = None
    depth_usd: float | None = None
    """At the best bid and ask together."""
    liquidity_score: float | None = None
    liquidity_grade: str | None = None


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
    return {"exchange_id": exchange_id, **asdict(row)}


async def load_symbols(connection: AsyncConnection[Any], exchange_id: int) -> list[SymbolRow]:
    """All symbols of an exchange: ranked ones first, in rank order, then the rest by name."""
    rows = await (await connection.execute(sql("read_symbols"), {"exchange_id": exchange_id})).fetchall()
    return [SymbolRow(*row) for row in rows]


async def read_canonical_symbols(connection: AsyncConnection[Any], exchange_id: int | None) -> dict[str, str]:
    """Symbol -> the id its data is kept under (an alias's is another), by rank; None: of any exchange."""
    found = await connection.execute(sql("read_canonical_symbols"), {"exchange_id": exchange_id})
    return dict(await found.fetchall())


async def require_symbols(
    connection: AsyncConnection[Any], exchange_id: int, exchange_name: str, symbols: Sequence[str]
) -> None:
    """Raises UnknownSymbol for the first the exchange does not list.

    Nothing is refused by a list that is missing or older than a day: then only the exchange can say.
    """
    rows = await (await connection.execute(sql("list_symbols"), {"exchange_id": exchange_id})).fetchall()
    known = [row[0] for row in rows]
    if not rows or not rows[0][1]:
        return
    for symbol in symbols:
        if symbol not in known:
            raise UnknownSymbol(symbol, exchange_name, known)
