"""The one door to MACD-V: `step` for live candles, `batch` for columns, both the same fold (S1, S2, S11)."""

from __future__ import annotations

from livermore_dagster.market.macdv_batch import Columns, batch
from livermore_dagster.market.macdv_fold import (
    FORMULA,
    LOW_ACTIVITY,
    NO_MOVEMENT,
    PUBLISH_FROM,
    SETTLED_FROM,
    MacdvPoint,
    State,
    fold,
    point_of,
    step,
)

__all__ = [
    "FORMULA",
    "LOW_ACTIVITY",
    "NO_MOVEMENT",
    "PUBLISH_FROM",
    "SETTLED_FROM",
    "Columns",
    "MacdvPoint",
    "State",
    "batch",
    "fold",
    "point_of",
    "step",
]
