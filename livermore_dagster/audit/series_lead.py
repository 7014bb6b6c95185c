"""What of a series is read before a value, so that the value does not depend on where the reading begins."""

from __future__ import annotations

from typing import Final

from livermore_dagster.audit.cell import Cell
from livermore_dagster.market.series_macdv import EXACT_BARS
from livermore_dagster.stores.postgres.candles import Lead

__all__ = ["LEAD_BARS", "find_lead"]

LEAD_BARS: Final = 24_000
"""Candles read before a value at most, of a series that is hardly traded: two and a half weeks of 1m."""


async def find_lead(cell: Cell, symbol: str, first_ms: int, since_ms: int = 0) -> Lead:
    """EXACT_BARS observed candles before the one that opens at `first_ms`, back to `since_ms` at most.

    Where fewer are held it is not complete, and begins with the oldest there is.
    """
    series = cell.ctx.row.id, symbol, cell.timeframe
    return await cell.ctx.table.lead(*series, since_ms, first_ms, EXACT_BARS, most=LEAD_BARS)
