"""Whether stored candles can be true: what the asset checks ask of the `candles` table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["Soundness", "UnsoundCandle", "judge_candles"]


@dataclass(frozen=True, slots=True)
class UnsoundCandle:
    """A candle whose low, high, prices or volume contradict each other."""

    symbol: str
    open_ms: int
    open: str
    high: str
    low: str
    close: str
    volume: str


@dataclass(frozen=True, slots=True)
class Soundness:
    """`off_grid` candles are kept as the exchange gave them and only told."""

    judged: int
    off_grid: int
    unsound: tuple[UnsoundCandle, ...]
    """The first 50."""
    unsound_count: int


async def judge_candles(
    connection: AsyncConnection[Any],
    exchange_id: int,
    symbols: Sequence[str],
    timeframe: Timeframe,
    from_ms: int,
) -> Soundness:
    """Judge the candles of `symbols` that open at or after `from_ms`."""
    given = {
        "exchange_id": exchange_id,
        "symbols": list(symbols),
        "timeframe": timeframe.value,
        "from_ms": from_ms,
        "step_ms": timeframe.ms,
    }
    counts = await (await connection.execute(sql("count_candles_on_grid"), given)).fetchone()
    unsound = await (await connection.execute(sql("find_unsound_candles"), given)).fetchall()
    judged, off_grid = counts or (0, 0)
    shown = tuple(UnsoundCandle(*row[:-1]) for row in unsound)
    return Soundness(judged, off_grid, shown, unsound[0][-1] if unsound else 0)
