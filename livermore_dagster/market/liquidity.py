"""How well a market trades: a score from 0 to 1 and a grade (X5).

Each part is placed on a logarithmic scale between a value that counts nothing and one that counts in full;
a part that is not known leaves its weight to the others. The scales span what spot markets show: thin ones
trade for some thousand dollars a day at a spread of percents, the largest for a billion at a hundredth of
one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["Liquidity", "grade_of", "liquidity_score"]


@dataclass(frozen=True, slots=True)
class Liquidity:
    """What is known of a market; None for what is not. Negative numbers are unknown too."""

    trades_24h: int | None = None
    volume_24h_usd: float | None = None
    spread_bps: float | None = None
    """Best ask less best bid, in hundredths of a percent of their middle."""
    depth_usd: float | None = None
    """Offered and asked for at the best prices, together."""


@dataclass(frozen=True, slots=True)
class _Part:
    weight: float
    none_at: float
    full_at: float

    def score(self, value: float) -> float:
        place = math.log(max(value, 1e-12) / self.none_at) / math.log(self.full_at / self.none_at)
        return min(1.0, max(0.0, place))


_VOLUME: Final = _Part(0.4, 1e4, 1e9)
_SPREAD: Final = _Part(0.3, 100.0, 1.0)
_TRADES: Final = _Part(0.2, 1e2, 1e6)
_DEPTH: Final = _Part(0.1, 1e2, 1e6)
_GRADES: Final = ((0.8, "A"), (0.6, "B"), (0.4, "C"), (0.2, "D"))


def liquidity_score(known: Liquidity) -> float | None:
    """0 (hardly a market) to 1, rounded to 0.001; None where nothing is known."""
    parts = (
        (_VOLUME, known.volume_24h_usd),
        (_SPREAD, known.spread_bps),
        (_TRADES, known.trades_24h),
        (_DEPTH, known.depth_usd),
    )
    given = [(part, float(value)) for part, value in parts if value is not None and value >= 0]
    if not given:
        return None
    weight = sum(part.weight for part, _ in given)
    return round(sum(part.weight * part.score(value) for part, value in given) / weight, 3)


def grade_of(score: float | None) -> str | None:
    """A from 0.8, B from 0.6, C from 0.4, D from 0.2, else F; None for no score."""
    if score is None:
        return None
    return next((letter for least, letter in _GRADES if score >= least), "F")
