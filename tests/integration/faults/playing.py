"""Lets acts of faults loose on a running service, one after another, and writes down what became of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.exchange_candles import matches_exchange
from livermore_dagster.incidents import CATALOGUE
from livermore_dagster.ingest.context import open_context
from livermore_dagster.market.timeframe import Timeframe
from tests.integration.faults.scenarios import Scenario, orders_of
from tests.integration.faults.stage import Stage, Wrong
from tests.integration.ingest.played import Platform, until

__all__ = ["NEAR_MS", "Findings", "audit", "play", "whole"]

MARKS_S = 90.0
"""So long may the marks of an act take to come: a busy machine is slow, and nothing here is about speed."""
AGAIN_S = (10.0, 10.0)
"""So long after the faults are over their marks may take, before what left none strikes again."""
TRUTH_S = 120.0
NEAR_MS = 10 * 60_000
"""A fault may concern candles that ended so long before it, or end so long after."""
ASKED_MS = 4 * NEAR_MS
"""REST may have been closed by the act before, and be asked for older ones during this."""


@dataclass
class Findings:
    """What each scenario (by name) left behind; empty where all is as it must be."""

    unmarked: dict[str, str] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Market ms from the order to the last mark."""
    wrong: list[Wrong] = field(default_factory=list)
    refused: str = ""
    """429 and 418 beyond those the exchange was told to give."""
    untold: str = ""

    def of(self, scenario: Scenario) -> list[str]:
        """What is wrong with it."""
        begun, ended = self.spans[scenario.name]
        wrong = [str(one) for one in self.wrong if one.overlaps(begun - NEAR_MS, ended + NEAR_MS)]
        marks = [self.unmarked[scenario.name]] if self.unmarked.get(scenario.name) else []
        refused = [self.refused] if self.refused and scenario.mode.startswith("9") else []
        return [*marks, *refused, *([self.untold] if self.untold else []), *wrong[:6]]


def play(
    stage: Stage,
    acts: Sequence[Sequence[Scenario]],
    *,
    marks_s: float = MARKS_S,
    truth_s: float = TRUTH_S,
) -> Findings:
    """Candles are compared once, over the whole of it: whom a wrong one concerns is told by its time."""
    found = Findings()
    begun = stage.market_now()
    told = stage.newest_incident()
    audited = [act for act in acts if any(one.audited for one in act)]
    for act in acts:
        if act not in audited:
            _strike(stage, act, found, marks_s)
    found.wrong = _compare(stage, found, acts, begun, truth_s)
    for act in audited:
        _strike_and_audit(stage, act, found, marks_s, truth_s)
    again = stage.refused_again()
    if again:
        found.refused = f"refused {again} times beyond what was ordered, {stage.given()} answers in all"
    names = {name.value for name in CATALOGUE}
    silent = [
        one
        for one in stage.incidents(told)
        if one.name not in names or not one.text or one.text not in stage.logged
    ]
    found.untold = f"not in plain words, or not in the log: {silent}" if silent else ""
    return found


def _strike(stage: Stage, act: Sequence[Scenario], found: Findings, seconds: float) -> None:
    """Orders an act and waits for its marks; what does not come is written down.

    What left none strikes again, alone: a busy machine may have slept through it, or it met nobody because
    the connection was just being replaced. Without its defence it leaves none however often it strikes.
    """
    stage.connection()
    marks = stage.marks()
    begun = stage.market_now()
    deadline = time.monotonic() + seconds
    ids: list[int] = []
    lacking: dict[str, list[str]] = {}

    def over() -> bool:
        return not stage.pending(ids) and stage.streams

    def marked() -> bool:
        lacking.update({one.name: stage.lacking(one.counters, one.incidents, marks) for one in act})
        return not any(lacking.values())

    def left() -> float:
        return deadline - time.monotonic()

    struck = list(act)
    for wait_s in (*AGAIN_S, seconds):
        ids += stage.order(*orders_of(struck, stage))
        if not _comes(over, left()) or _comes(marked, min(wait_s, left())) or left() <= 0:
            break
        struck = [one for one in act if lacking[one.name] and not one.once]
        if struck:
            print(f"{stage.exchange}: strike again: {[one.name for one in struck]}")  # noqa: T201
    trouble = ""
    if not (marked() and over()):
        told = [(one.name, one.text) for one in stage.incidents(marks.incident)]
        trouble = f"pending: {stage.pending(ids)}; streams: {stage.streams}; told: {told}"
    ended = stage.market_now()
    for scenario in act:
        found.spans[scenario.name] = (begun, ended)
        if trouble:
            found.unmarked[scenario.name] = f"no {lacking[scenario.name]}; {trouble}"


def _comes(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether that comes to hold within so long."""
    try:
        until(holds, seconds, "it")
    except AssertionError:
        return False
    return True


def _compare(
    stage: Stage, found: Findings, acts: Sequence[Sequence[Scenario]], begun: int, seconds: float
) -> list[Wrong]:
    """Waits until all that ended is settled and true; what stays wrong."""
    start, target = whole(stage, begun)
    lenient = [
        (found.spans[one.name][0] - ASKED_MS, found.spans[one.name][1] + NEAR_MS)
        for act in acts
        for one in act
        if one.observed_only and one.name in found.spans
    ]
    wrong: list[Wrong] = []

    def true() -> bool:
        if stage.settled() < target:
            return False
        wrong[:] = [
            one
            for one in stage.wrong(start, target)
            if not (one.is_filler and any(one.overlaps(*span) for span in lenient))
        ]
        return not wrong

    if not _comes(true, seconds) and stage.settled() < target:
        wrong.append(Wrong("all", "all", Timeframe.M5, stage.settled(), f"settled only to {stage.settled()}"))
    return wrong


def whole(stage: Stage, begun: int) -> tuple[int, int]:
    """From two buckets before `begun` to the next boundary, in market ms."""
    longest = max(timeframe.ms for timeframe in stage.timeframes() if timeframe.ms <= Timeframe.M5.ms)
    now = stage.market_now()
    return begun - begun % longest - 2 * longest, now - now % longest + longest


def _strike_and_audit(
    stage: Stage, act: Sequence[Scenario], found: Findings, marks_s: float, truth_s: float
) -> None:
    """The audit is what the act waits for; where it found nothing wrong, REST is wrong once more."""
    stage.connection()
    begun = stage.market_now()
    marks = stage.marks()
    for _ in range(1 + len(AGAIN_S)):
        start, target, before = _audited(stage, act, begun, marks_s, truth_s)
        if not any(stage.lacking(one.counters, one.incidents, marks) for one in act):
            break
    ended = stage.market_now()
    for scenario in act:
        found.spans[scenario.name] = (begun, ended)
        lacking = stage.lacking(scenario.counters, scenario.incidents, marks)
        if lacking:
            found.unmarked[scenario.name] = f"no {lacking}; wrong before the audit: {before[:4]}"
    left: list[Wrong] = []

    def true() -> bool:
        left[:] = stage.wrong(start, target)
        return not left

    if not _comes(true, truth_s):
        found.wrong += left


def _audited(
    stage: Stage, act: Sequence[Scenario], begun: int, marks_s: float, truth_s: float
) -> tuple[int, int, list[Wrong]]:
    """Orders an act, and audits when all that REST was wrong about is settled.

    From when to when, in market ms, and what was wrong before.
    """
    ids = stage.order(*orders_of(act, stage))
    until(lambda: not stage.pending(ids), marks_s, lambda: f"does not end: {stage.pending(ids)}")
    start, target = whole(stage, begun)
    until(lambda: stage.settled() >= target, truth_s, f"settled to {target}")
    before = stage.wrong(start, target)
    asyncio.run(audit(stage.platform, stage.exchange, start, target))
    return start, target, before


async def audit(platform: Platform, exchange: str, start_ms: int, end_ms: int) -> None:
    """As the platform does every hour: REST itself may have been wrong for longer than anybody waits."""
    async with open_context(exchange, platform) as ctx:
        for timeframe in ctx.row.live_timeframes:
            if timeframe.ms <= Timeframe.M15.ms:
                cell = Cell(ctx, timeframe, platform.symbols(exchange), end_ms + timeframe.ms, by_hand=True)
                await matches_exchange(cell, start_ms - timeframe.ms)
