"""What taking closes of a series led to: points, alerts, and alerts that vanished."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from livermore_dagster.market.alert_rules import Raised
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.macdv import MacdvPoint

__all__ = ["NewAlert", "Outcome", "Vanished"]


@dataclass(frozen=True, slots=True)
class NewAlert:
    stamped: StampedCandle
    point: MacdvPoint
    raised: Raised
    late: bool
    revised: bool


@dataclass(frozen=True, slots=True)
class Vanished:
    open_ms: int
    label: str


@dataclass(slots=True)
class Outcome:
    """What taking closes led to."""

    points: list[MacdvPoint] = field(default_factory=list)
    alerts: list[NewAlert] = field(default_factory=list)
    vanished: list[Vanished] = field(default_factory=list)
    newest: StampedCandle | None = None

    def add(self, alert: NewAlert) -> None:
        """One that a revision brought, perhaps back."""
        gone = Vanished(alert.point.open_ms, alert.raised.label)
        self.vanished = [one for one in self.vanished if one != gone]
        self.alerts.append(alert)

    def withdraw(self, open_ms: int, label: str) -> None:
        """One that a revision took away, perhaps before it was stored."""
        gone = open_ms, label
        self.alerts = [one for one in self.alerts if (one.point.open_ms, one.raised.label) != gone]
        self.vanished.append(Vanished(open_ms, label))

    def standing(self, stored: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
        """Open and label of the alerts that stand, given those that did before this outcome."""
        gone = {(one.open_ms, one.label) for one in self.vanished}
        new = {(one.point.open_ms, one.raised.label) for one in self.alerts}
        return sorted({*stored} - gone | new)
