"""Final candles in PostgreSQL, under the same rank rule as the cache. All reads go by the primary key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["CandleTable", "Lead", "SeriesFacts", "Span", "UpsertCounts"]

WRITE_WAIT_S = 2.0
"""How long a write waits for a connection before it says that there is none."""
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """Rows of one upsert. `unchanged`: given, but not above what is there (or twice in the batch).

    `changed`: those of the updated whose prices or volume differ; the others only rose in rank.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    changed: int = 0

    def __add__(self, other: UpsertCounts) -> UpsertCounts:
        return UpsertCounts(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.changed + other.changed,
        )


@dataclass(frozen=True, slots=True)
class Span:
    """[from_ms, to_ms) on the UTC grid."""

    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Lead:
    """What is read before a candle. `complete`: it holds as many observed ones as were wanted."""

    start_ms: int
    """Open of its oldest candle; where there is none, of the candle it leads to."""
    complete: bool


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What is stored of one series."""

    symbol: str
    count: int
    first_open_ms: int
    last_open_ms: int


class CandleTable:
    """The `candles` table."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def upsert(self, exchange_id: int, batch: Sequence[StampedCandle]) -> UpsertCounts:
        """Stores final candles in one transaction; committed when this returns. Repeating it changes nothing.

        Raises ValueError for an open candle.
        """
        if not batch:
            return UpsertCounts()
        rows = _copy_text(batch)
        async with self._pool.connection(timeout=WRITE_WAIT_S) as connection:
            return await self._upsert(connection, exchange_id, rows, len(batch))

    async def _upsert(
        self, connection: AsyncConnection[Any], exchange_id: int, rows: str, given: int
    ) -> UpsertCounts:
        async with connection.transaction(), connection.cursor() as cursor:
            await cursor.execute(sql("create_incoming_candles"))
            async with cursor.copy(sql("copy_incoming_candles")) as copy:
                await copy.write(rows)
            await cursor.execute(sql("upsert_candles"), {"exchange_id": exchange_id})
            row = await cursor.fetchone()
        inserted, updated, changed = row or (0, 0, 0)
        return UpsertCounts(inserted, updated, given - inserted - updated, changed)

    async def read(
        self,
        exchange_id: int,
        symbol: str,
        timeframe: Timeframe,
        start_ms: int,
        end_ms: int,
        limit: int | None = None,
        *,
        newest: bool = False,
    ) -> list[StampedCandle]:
        """Candles whose open lies in [start_ms, end_ms), oldest first.

        `limit` keeps the oldest so many, or with `newest` the newest. What the table does not hold comes as
        origin backfill and proven_ms 0.
        """
        statement = sql("read_newest_candles" if newest else "read_candles")
        given = {
            "exchange_id": exchange_id,
            "symbol": symbol,
            "timeframe": timeframe.value,
            "start_ms": start_ms,
            "end_ms": end_ms,
            "limit": limit,
        }
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(statement, given)).fetchall()
        found = [_stamped(symbol, timeframe, row) for row in rows]
        return found[::-1] if newest else found

    async def closes(
        self, exchange_id: int, symbol: str, timeframe: Timeframe, opens: Iterable[int]
    ) -> dict[int, Decimal]:
        """Closing price, in quote currency, of those candles that are stored, by open (ms)."""
        given = {
            "exchange_id": exchange_id,
            "symbol": symbol,
            "timeframe": timeframe.value,
            "opens": list(opens),
        }
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(sql("read_closes"), given)).fetchall()
        return {row[0]: row[1] for row in rows}

    async def newest(self, exchange_id: int, symbols: Iterable[str], timeframe: Timeframe) -> dict[str, int]:
        """Open (ms) of each symbol's newest candle; symbols without one are absent."""
        given = {"exchange_id": exchange_id, "symbols": list(symbols), "timeframe": timeframe.value}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(sql("read_newest_opens"), given)).fetchall()
        return {row[0]: row[1] for row in rows}

    async def lead(
        self,
        exchange_id: int,
        symbol: str,
        timeframe: Timeframe,
        start_ms: int,
        end_ms: int,
        count: int,
        *,
        most: int,
    ) -> Lead:
        """The newest of [start_ms, end_ms) that hold just `count` observed candles, or the newest `most`."""
        given = {
            "exchange_id": exchange_id,
            "symbol": symbol,
            "timeframe": timeframe.value,
            "start_ms": start_ms,
            "end_ms": end_ms,
            "count": count,
            "most": most,
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(sql("find_lead"), given)).fetchone()
        begins_ms, complete = row or (None, False)
        return Lead(end_ms if begins_ms is None else begins_ms, complete)

    async def gaps(
        self, exchange_id: int, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int
    ) -> list[Span]:
        """Buckets in [start_ms, end_ms) without a candle, less the ledger of asked ranges and what lies
        before the series' known beginning; oldest first, adjacent ones joined."""
        if end_ms <= start_ms:
            return []
        given = {
            "exchange_id": exchange_id,
            "symbol": symbol,
            "timeframe": timeframe.value,
            "step_ms": timeframe.ms,
            "start_ms": start_ms,
            "end_ms": end_ms,
        }
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(sql("find_gaps"), given)).fetchall()
        return [Span(row[0], row[1]) for row in rows]

    async def facts(
        self,
        exchange_id: int,
        symbols: Iterable[str],
        timeframe: Timeframe,
        *,
        count_to: int | None = None,
    ) -> list[SeriesFacts]:
        """Count, first and last open of each symbol that has candles, in the symbols' order.

        Counting reads every candle of a series: `count_to` stops it at so many.
        """
        given = {
            "exchange_id": exchange_id,
            "symbols": list(symbols),
            "timeframe": timeframe.value,
            "count_to": count_to,
        }
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(sql("read_series_facts"), given)).fetchall()
        return [SeriesFacts(*row) for row in rows]

    async def symbols(self, exchange_id: int, timeframe: Timeframe) -> list[str]:
        """Symbols that have candles of this timeframe, by name."""
        given = {"exchange_id": exchange_id, "timeframe": timeframe.value}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(sql("list_candle_symbols"), given)).fetchall()
        return [row[0] for row in rows]


def _copy_text(batch: Sequence[StampedCandle]) -> str:
    lines: list[str] = []
    for stamped in batch:
        if stamped.rank is Rank.OPEN:
            raise ValueError(f"{stamped.symbol} {stamped.timeframe} {stamped.candle.open_ms} is still open")
        candle = stamped.candle
        lines.append(
            f"{stamped.symbol.translate(_ESCAPES)}\t{stamped.timeframe.value}\t{candle.open_ms}\t{candle.open}\t"
            f"{candle.high}\t{candle.low}\t{candle.close}\t{candle.volume}\t{stamped.trades}\t"
            f"{stamped.rank.value}\t{stamped.stamp_ms}\n"
        )
    return "".join(lines)


def _stamped(symbol: str, timeframe: Timeframe, row: tuple[Any, ...]) -> StampedCandle:
    return StampedCandle(
        symbol=symbol,
        timeframe=timeframe,
        candle=Candle(row[0], row[1], row[2], row[3], row[4], row[5]),
        rank=Rank(row[7]),
        stamp_ms=row[8],
        origin=Origin.BACKFILL,
        trades=row[6],
    )
