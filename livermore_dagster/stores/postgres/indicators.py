"""The `indicators` table: MACD-V as it was computed live, and recomputed where live never ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import AsyncConnection

from livermore_dagster.market.macdv import FORMULA, PUBLISH_FROM, MacdvPoint
from livermore_dagster.market.stages import Stage, stage_of
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["IndicatorRow", "StoredIndicator", "public_reason", "read_indicators", "upsert_indicators"]


@dataclass(frozen=True, slots=True)
class IndicatorRow:
    """A point of a series on its way to the table. Below 60 observed bars its values stay out (R12)."""

    symbol: str
    timeframe: Timeframe
    point: MacdvPoint


@dataclass(frozen=True, slots=True)
class StoredIndicator:
    """A row of the table. `open_ms` names the candle."""

    open_ms: int
    macdv: float | None
    signal: float | None
    histogram: float | None
    stage: str
    reason: str | None
    seeded: bool
    warming: bool
    n_eff: int
    span_bars: int
    seed_open_ms: int
    source: str


def public_reason(point: MacdvPoint) -> str | None:
    """Why no value is published at `point`, None where one is."""
    if point.publishable or point.reason is not None:
        return point.reason
    return f"Warming up: {point.n_eff} of {PUBLISH_FROM} observed candles"


def _columns(rows: Sequence[IndicatorRow]) -> dict[str, list[Any]]:
    names = (
        "symbol", "timeframe", "open_ms", "macdv", "signal", "histogram", "stage", "reason", "seeded",
        "warming", "n_eff", "span_bars", "seed_open_ms",
    )  # fmt: skip
    columns: dict[str, list[Any]] = {name: [] for name in names}
    # One statement must not meet the same row twice: the newest of a batch counts.
    newest = {(row.symbol, row.timeframe, row.point.open_ms): row for row in rows}
    for (symbol, timeframe, open_ms), row in sorted(newest.items()):
        point = row.point
        shown = (point.macdv, point.signal, point.histogram) if point.publishable else (None, None, None)
        stage = stage_of(point.macdv, point.signal) if point.publishable else Stage.UNKNOWN
        values = (
            symbol, timeframe.value, open_ms, *shown, stage.value, public_reason(point), point.seeded,
            point.warming, point.n_eff, point.span_bars, point.seed_open_ms,
        )  # fmt: skip
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    return columns


async def upsert_indicators(
    connection: AsyncConnection[Any],
    exchange_id: int,
    rows: Sequence[IndicatorRow],
    source: Literal["live", "batch"] = "live",
) -> None:
    """Stores points in one statement, idempotently; the caller commits. 'batch' never replaces 'live'."""
    if rows:
        given = {"exchange_id": exchange_id, "formula": FORMULA, "source": source, **_columns(rows)}
        await connection.execute(sql("upsert_indicators"), given)


async def read_indicators(
    connection: AsyncConnection[Any],
    exchange_id: int,
    symbol: str,
    timeframe: Timeframe,
    start_ms: int = 0,
    end_ms: int = 1 << 62,
    limit: int = 1_000,
) -> list[StoredIndicator]:
    """The newest `limit` rows whose open lies in [start_ms, end_ms), oldest first."""
    given = {
        "exchange_id": exchange_id,
        "symbol": symbol,
        "timeframe": timeframe.value,
        "start_ms": start_ms,
        "end_ms": end_ms,
        "limit": limit,
    }
    rows = await (await connection.execute(sql("read_indicators"), given)).fetchall()
    return [StoredIndicator(*row) for row in rows]
