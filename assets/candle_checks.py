"""Checks of `candles/<timeframe>`: no gaps beyond the ledger, sound, fresh, equal to the exchange's."""

from __future__ import annotations

import dagster as dg

from assets.checks import build_checks
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.hourly import hourly_audit
from livermore_dagster.audit.stored_candles import fresh, no_gaps, sane
from livermore_dagster.audit.verdict import Verdict
from livermore_dagster.market.timeframe import TIMEFRAMES
from livermore_dagster.resources import AUDIT_CHECK

__all__ = ["candle_checks"]

CHECKED_BARS = 300


async def _no_gaps(cell: Cell) -> Verdict:
    return await no_gaps(cell, cell.bars_before(CHECKED_BARS))


async def _sane(cell: Cell) -> Verdict:
    return await sane(cell, cell.bars_before(CHECKED_BARS))


def candle_checks() -> list[dg.AssetChecksDefinition]:
    """One op per timeframe."""
    return [
        build_checks(
            "candles",
            timeframe,
            {
                "no_gaps": (_no_gaps, f"the last {CHECKED_BARS} bars are stored or proven absent by REST."),
                "sane": (_sane, "low ≤ open, close ≤ high, prices above 0, volume not below 0."),
                "fresh": (fresh, "the newest candle due by the exchange's clock is stored."),
                AUDIT_CHECK: (
                    hourly_audit,
                    "what settled since the last audit equals the exchange's REST candles, or is repaired.",
                ),
            },
        )
        for timeframe in TIMEFRAMES
    ]
