"""The `exchanges` table: what adapters and clients are built from (X1, X2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["load_exchanges", "upsert_rows"]


async def upsert_rows(connection: AsyncConnection[Any], rows: Sequence[ExchangeRow]) -> None:
    """Makes the table hold these rows, by id; rows that are already so are not touched."""
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.executemany(
            sql("upsert_exchanges"),
            [
                {
                    "id": row.id,
                    "name": row.name,
                    "display_name": row.display_name,
                    "rest_url": row.rest_url,
                    "ws_url": row.ws_url,
                    "timeframes": [timeframe.value for timeframe in row.timeframes],
                    "streamed_timeframes": [timeframe.value for timeframe in row.streamed_timeframes],
                    "quote_currencies": list(row.quote_currencies),
                    "api_limits": Jsonb(dict(row.api_limits)),
                    "fee_schedule": Jsonb(dict(row.fee_schedule)),
                    "geo_restrictions": Jsonb(dict(row.geo_restrictions)),
                    "active": row.active,
                }
                for row in rows
            ],
        )


async def load_exchanges(connection: AsyncConnection[Any]) -> list[ExchangeRow]:
    """All rows by id, inactive ones too."""
    rows = await (await connection.execute(sql("read_exchanges"))).fetchall()
    return [_row(row) for row in rows]


def _row(row: tuple[Any, ...]) -> ExchangeRow:
    return ExchangeRow(
        id=row[0],
        name=row[1],
        display_name=row[2],
        rest_url=row[3],
        ws_url=row[4],
        timeframes=tuple(Timeframe(text) for text in row[5]),
        streamed_timeframes=tuple(Timeframe(text) for text in row[6]),
        quote_currencies=tuple(row[7]),
        api_limits=row[8],
        fee_schedule=row[9],
        geo_restrictions=row[10],
        active=row[11],
    )
