"""The `indicators` table: MACD-V as it was computed live, and recomputed where live never ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import msgspec
from psycopg import AsyncConnection

from livermore_dagster.market.macdv import FORMULA, PUBLISH_FROM, MacdvPoint
from livermore_dagster.market.stages import Stage, stage_of
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.statements import sql

__all__ = [
    "IndicatorRow",
    "Source",
    "StoredIndicator",
    "public_reason",
    "read_indicators",
    "stored_indicator",
    "upsert_indicators",
]

Source = Literal["live", "batch"]


@dataclass(frozen=True, slots=True)
class IndicatorRow:
    """A point of a series on its way to the table. Below 60 observed bars its values stay out (R12)."""

    symbol: str
    timeframe: Timeframe
    point: MacdvPoint


@dataclass(frozen=True, slots=True)
class StoredIndicator:
    """A row of the table. `open_ms` names the candle. Without a value, `reason` says why."""

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
    formula: int
    source: str


def public_reason(point: MacdvPoint) -> str | None:
    """Why no value is published at `point`, None where one is."""
    if point.publishable or point.reason is not None:
        return point.reason
    return f"Warming up: {point.n_eff} of {PUBLISH_FROM} observed candles"


def stored_indicator(point: MacdvPoint, source: Source) -> StoredIndicator:
    """The row `point` becomes."""
    shown = (point.macdv, point.signal, point.histogram) if point.publishable else (None, None, None)
    stage = stage_of(point.macdv, point.signal) if point.publishable else Stage.UNKNOWN
    return StoredIndicator(
        point.open_ms, *shown, stage.value, public_reason(point), point.seeded, point.warming, point.n_eff,
        point.span_bars, point.seed_open_ms, FORMULA, source,
    )  # fmt: skip


_encode = msgspec.json.Encoder().encode


_GIVEN: Final = tuple(
    field.name for field in fields(StoredIndicator) if field.name not in {"formula", "source"}
)


def _row(key: tuple[str, Timeframe, int], point: MacdvPoint, source: Source) -> dict[str, Any]:
    row = stored_indicator(point, source)
    return {"symbol": key[0], "timeframe": key[1], **{name: getattr(row, name) for name in _GIVEN}}


async def upsert_indicators(
    connection: AsyncConnection[Any],
    exchange_id: int,
    rows: Sequence[IndicatorRow],
    source: Source = "live",
) -> int:
    """Stores points in one statement, idempotently; the caller commits. 'batch' never replaces 'live'.

    Returns how many rows were written.
    """
    if not rows:
        return 0
    # One statement must not meet the same row twice: the newest of a batch counts.
    newest = {(row.symbol, row.timeframe, row.point.open_ms): row.point for row in rows}
    # One JSON text for all: arrays by column take psycopg several times as long.
    text = _encode([_row(key, point, source) for key, point in sorted(newest.items())]).decode()
    given = {"exchange_id": exchange_id, "formula": FORMULA, "source": source, "points": text}
    return (await connection.execute(sql("upsert_indicators"), given)).rowcount


async def read_indicators(
    connection: AsyncConnection[Any],
    exchange_id: int,
    symbol: str,
    timeframe: Timeframe,
    start_ms: int = 0,
    end_ms: int = 1 << 62,
    limit: int | None = 1_000,
) -> list[StoredIndicator]:
    """The newest `limit` rows (None: all) whose open lies in [start_ms, end_ms), oldest first."""
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
