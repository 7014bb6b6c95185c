"""Check of `macdv/<timeframe>`: what was computed live equals a recomputation over the candles at rest."""

from __future__ import annotations

import dagster as dg

from assets.checks import build_checks
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.live_values import live_equals_batch
from livermore_dagster.audit.verdict import Verdict
from livermore_dagster.market.timeframe import TIMEFRAMES

__all__ = ["macdv_checks"]

COMPARED_BARS = 30


async def _live_equals_batch(cell: Cell) -> Verdict:
    return await live_equals_batch(cell, cell.bars_before(COMPARED_BARS + 1))


def macdv_checks() -> list[dg.AssetChecksDefinition]:
    """One op per timeframe."""
    described = "values computed live equal a recomputation over PostgreSQL from the same seed."
    return [
        build_checks("macdv", timeframe, {"live_equals_batch": (_live_equals_batch, described)})
        for timeframe in TIMEFRAMES
    ]
