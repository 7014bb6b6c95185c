"""When a MACD-V value is worth an alert: levels (S4), reversals (S5), cooldown (S6), revisions (S6b).

A level L is crossed downwards when previous ≥ L > current, upwards when previous ≤ L < current; only the
deepest crossed one alerts. Previous is the value of the last observed bar. A crossing re-arms the reversal
rule before that is judged on the same candle, also when its own alert is suppressed by the cooldown. A
reversal suppressed by the cooldown has not fired and stays armed. A series' rules start armed and without
any cooldown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

__all__ = ["COOLDOWN_MS", "LEVELS", "Raised", "RuleState", "changes", "crosses", "judge", "late"]

LEVELS: Final = (150, 200, 250, 300, 350, 400)
EXTREME: Final = 150.0
OVERSOLD_SHARE: Final = 0.05
OVERBOUGHT_SHARE: Final = 0.03
COOLDOWN_MS: Final = 300_000

Direction = Literal["up", "down"]
Kind = Literal["level", "reversal"]


class Raised(NamedTuple):
    """An alert the rules give for one candle. `previous_label`: the one raised before it, if any."""

    label: str
    kind: Kind
    direction: Direction
    previous_label: str | None


class RuleState(NamedTuple):
    """What the rules remember of a series. Immutable."""

    armed: bool = True
    """A reversal may fire: none has since the last crossing."""
    last: tuple[tuple[str, int], ...] = ()
    """Label and candle end (ms) of the newest alert of each label still cooling down."""
    last_label: str | None = None

    def to_json(self) -> str:
        return json.dumps([self.armed, self.last, self.last_label], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> RuleState:
        armed, last, last_label = json.loads(text)
        return cls(armed, tuple((label, end) for label, end in last), last_label)


def judge(
    rules: RuleState, previous: float | None, current: float | None, histogram: float | None, end_ms: int
) -> tuple[RuleState, list[Raised]]:
    """Alerts of an observed candle that ends at `end_ms`, the level before the reversal."""
    if previous is None or current is None:
        return rules, []
    wanted: list[tuple[str, Kind, Direction]] = []
    level = _crossed(previous, current)
    armed = rules.armed or level is not None
    if level is not None:
        wanted.append((f"level_{level}", "level", "down" if level < 0 else "up"))
    reversal = _reversal(previous, current, histogram) if armed else None
    if reversal is not None:
        wanted.append(reversal)
    if not wanted:
        return rules, []
    raised: list[Raised] = []
    last = {label: end for label, end in rules.last if end_ms - end < COOLDOWN_MS}
    before = rules.last_label
    for label, kind, direction in wanted:
        if label in last:
            continue
        raised.append(Raised(label, kind, direction, before))
        last[label] = end_ms
        before = label
        if kind == "reversal":
            armed = False
    return RuleState(armed, tuple(last.items()), before), raised


def crosses(previous: float | None, current: float | None) -> bool:
    """Whether a level was crossed outward between two observed values, whatever came of it."""
    return previous is not None and current is not None and _crossed(previous, current) is not None


def _crossed(previous: float, current: float) -> int | None:
    if current < previous:
        return next((-level for level in reversed(LEVELS) if previous >= -level > current), None)
    return next((level for level in reversed(LEVELS) if previous <= level < current), None)


def _reversal(previous: float, current: float, histogram: float | None) -> tuple[str, Kind, Direction] | None:
    if histogram is None:
        return None
    if previous < -EXTREME and current < -EXTREME and histogram > OVERSOLD_SHARE * abs(current):
        return "reversal_oversold", "reversal", "up"
    if previous > EXTREME and current > EXTREME and histogram < -OVERBOUGHT_SHARE * abs(current):
        return "reversal_overbought", "reversal", "down"
    return None


def changes(before: Iterable[str], after: Iterable[str]) -> tuple[list[str], list[str]]:
    """Labels a revision adds to a candle, and labels it takes back (S6b)."""
    old, new = list(before), list(after)
    return [label for label in new if label not in old], [label for label in old if label not in new]


def late(end_ms: int, proven_ms: int, timeframe_ms: int, *, history: bool) -> bool:
    """Whether a candle is judged too late for a live signal: it came as history, or a whole bar too late.

    `proven_ms`: exchange clock at the proof, 0 where it is not known.
    """
    return history or proven_ms - end_ms >= timeframe_ms
