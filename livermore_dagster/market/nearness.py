"""How near a MACD-V value is to the next level it can cross outwards, and how fast it gets there (S4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from livermore_dagster.market.alert_rules import LEVELS

__all__ = ["Nearness", "NextLevel", "nearness_of", "next_levels"]


@dataclass(frozen=True, slots=True)
class NextLevel:
    """A crossing that is still possible: outwards, away from zero. `distance`: points, 0 on the level."""

    level: int
    direction: Literal["up", "down"]
    distance: float


@dataclass(frozen=True, slots=True)
class Nearness:
    """The nearest of them. `speed`: points per bar towards it, negative when moving away, None if unknown."""

    level: int
    direction: Literal["up", "down"]
    distance: float
    speed: float | None

    @property
    def bars(self) -> float | None:
        """Bars until the level at this speed; None when the value does not move towards it."""
        return self.distance / self.speed if self.speed is not None and self.speed > 0 else None


def next_levels(value: float) -> list[NextLevel]:
    """The levels whose crossing by the next candle would alert, one or two, the nearer first.

    A value on a level has not crossed it: the rule asks for previous ≤ level < current.

    >>> [(one.level, one.distance) for one in next_levels(170.0)]
    [(200, 30.0), (-150, 320.0)]
    """
    found: list[NextLevel] = []
    upper = next((level for level in LEVELS if value <= level), None)
    lower = next((-level for level in LEVELS if value >= -level), None)
    if upper is not None:
        found.append(NextLevel(upper, "up", upper - value))
    if lower is not None:
        found.append(NextLevel(lower, "down", value - lower))
    return sorted(found, key=lambda one: one.distance)


def nearness_of(value: float, previous: float | None, bars: int = 1) -> Nearness:
    """`previous`: the value `bars` bars before, if known."""
    nearest = next_levels(value)[0]
    speed = None
    if previous is not None and bars > 0:
        moved = (value - previous) / bars
        speed = moved if nearest.direction == "up" else -moved
    return Nearness(nearest.level, nearest.direction, nearest.distance, speed)
