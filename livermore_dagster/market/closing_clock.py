"""What the exchange's clock shows of a series: held candles it closes, and buckets that ended in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from livermore_dagster.market.closing_state import Held, Link, Series, Stalls
from livermore_dagster.market.closing_types import CloserStats, Effects, Reason
from livermore_dagster.market.closing_writes import final_write

__all__ = ["ClockLook", "Waits"]

Doubts = list[tuple[int, Reason]]
"""Slots that REST is to be asked for, and why."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long after its end a bucket is judged (ms). `grace_ms` is exchange time.

    The others cover latencies and the update cadence, which are real time: they count times the speed.
    """

    grace_ms: int
    silent_ms: int
    flag_ms: int
    flow_ms: int


@dataclass(frozen=True, slots=True)
class ClockLook:
    """One look at the clock, which stands at `now_ms`: every series is judged by it once."""

    now_ms: int
    speed: float
    """Market time per real time."""
    waits: Waits
    links: Mapping[str, Link]
    stalls: Stalls
    effects: Effects
    stats: CloserStats

    def judge(self, series: Series, doubts: Doubts) -> int:
        """Closes or doubts what has ended, where no flag says so. When to look again (exchange ms)."""
        while True:
            frontier, held = series.frontier or 0, series.held
            if held is not None and series.slot(held.candle.open_ms) <= frontier:
                due = self._judge_held(series, held, doubts)
            else:
                silent_ms = self.waits.silent_ms * self.speed
                due = self._doubt_frontier(series, self.waits.grace_ms, silent_ms, doubts)
            if due is not None:
                return due

    def judge_flagged(self, series: Series, doubts: Doubts) -> int:
        """The clock never closes where the exchange flags: it only notices that the flag did not come."""
        flag_ms = self.waits.flag_ms * self.speed
        while True:
            frontier = series.frontier or 0
            # A silent bucket is asked for within 10 s of its end, so it cannot wait as long as a flag may.
            due = self._doubt_frontier(series, flag_ms, 0.8 * flag_ms, doubts)
            if due is not None:
                return due
            if series.holds(frontier):
                series.held = None

    def _judge_held(self, series: Series, held: Held, doubts: Doubts) -> int | None:
        """When to look at the held candle again (exchange ms); None once it is closed or doubted."""
        end = held.candle.open_ms + series.step
        patience_ms = self.waits.grace_ms + self.waits.flow_ms * self.speed
        if end + self.waits.grace_ms > self.now_ms:
            return end + self.waits.grace_ms
        link = self.links.get(held.connection)
        if held.may_flow_on(link, end) and self.now_ms < end + patience_ms:
            return self.now_ms
        slot = series.slot(held.candle.open_ms)
        doubt = held.doubt(link, end)
        if doubt is None and held.connection in self.stalls.of(series.timeframe, slot):
            doubt = Reason.STALL
        series.held = None
        if doubt is None:
            series.finalise(held.candle, held.event_ms, by_clock=True)
            proven_ms = max(self.now_ms, held.event_ms)
            self.effects.writes.append(
                final_write(series, held.candle, held.event_ms, held.trades, proven_ms)
            )
            self.stats.by_clock += 1
        else:
            self.stats.primed += doubt is Reason.UNPROVEN and held.snapshot
            doubts.append((slot, doubt))
            if slot == series.frontier:
                series.advance()
        return None

    def _doubt_frontier(self, series: Series, seen_ms: float, silent_ms: float, doubts: Doubts) -> int | None:
        """When the bucket at the frontier is due (exchange ms); None once it is, and left in doubt.

        It waits for `seen_ms` after its end if frames came of it, and `silent_ms` if none did.
        """
        slot = series.frontier or 0
        seen = slot in series.seen
        due = slot + series.step + (seen_ms if seen else silent_ms)
        if due > self.now_ms:
            return int(due)
        stalled = series.connection in self.stalls.of(series.timeframe, slot)
        silence = Reason.STALL if stalled else Reason.SILENT
        doubts.append((slot, Reason.UNPROVEN if seen else silence))
        self.stats.primed += series.seen.get(slot, False)
        series.advance()
        return None
