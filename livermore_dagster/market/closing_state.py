"""What the closer remembers of one series and of one connection: a few buckets, whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from livermore_dagster.market.candle import Candle
from livermore_dagster.market.closing_types import CloserStats, Question, Reason
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["BACK_MS", "Final", "Held", "Link", "Series", "Stalls", "Unresolved", "questions_of"]

REMEMBERED_FINALS = 4
FLOWING = 32
"""Updates after which a connection's pace is known."""
QUIET_BY_CHANCE = 4.0
"""Times the mean: of arrivals by chance one in fifty comes later, and costs a request where it does."""
BACK_MS = 1_000
"""Real time: frames of one connection are stamped in order, within less."""
MOST_RANGES = 32
NO_EPOCH = -1
_ACTIVITY_BITS = (1 << 32) - 1


@dataclass(slots=True)
class Link:
    """A connection. `epoch` counts its breaks: what was held in another epoch is not proven by this one."""

    born: int = 0
    """Which one it is of those that ever were, in the order of their first frames."""
    epoch: int = 0
    newest_event_ms: int = 0
    """Exchange time of the newest candle update since the last break."""
    apart_ms: float = 0.0
    """Exchange time between updates, of late and on average …"""
    updates: int = 0
    """… of so many, up to FLOWING."""
    behind_ms: int = 0
    """Exchange time of the newest update, if that was stamped far before one that came earlier; else 0."""

    def take(self, event_ms: int, patience_ms: float, back_ms: float, stats: CloserStats) -> None:
        """Takes an update's time; where its updates did not flow on since the one before, that is a break.

        Frames may have been lost though the connection stood when nothing came for longer than `patience_ms`,
        and than a connection of its pace may be quiet by chance. Where time steps back by more than `back_ms`
        and goes on from there, what is newer is stamped older than what is held.
        """
        quiet = event_ms - self.newest_event_ms
        if quiet < -back_ms:
            # One alone is an old frame that came again.
            if 0 < self.behind_ms < event_ms:
                self._break(event_ms)
                stats.steps_back += 1
            else:
                self.behind_ms = event_ms
            return
        self.behind_ms = 0
        if quiet < 0:
            return
        first = self.newest_event_ms == 0
        self.newest_event_ms = event_ms
        if first:
            return
        if self.updates == FLOWING and quiet > patience_ms and quiet > QUIET_BY_CHANCE * self.apart_ms:
            self._break(event_ms)
            stats.pauses += 1
            return
        if self.updates < FLOWING:
            self.updates += 1
        self.apart_ms += (quiet - self.apart_ms) / self.updates

    def _break(self, event_ms: int) -> None:
        """What was held is not proven any more; what comes now may be."""
        self.epoch += 1
        self.newest_event_ms = event_ms
        self.behind_ms = 0


@dataclass(slots=True)
class Held:
    """The newest content of a bucket that is still open, and the unbroken stretch it came by."""

    candle: Candle
    event_ms: int
    trades: int
    connection: str
    epoch: int
    snapshot: bool

    def is_older_than(self, event_ms: int, trades: int, volume: str) -> bool:
        """The order among open candles: exchange time; ties by trades, then by volume."""
        if event_ms != self.event_ms:
            return event_ms > self.event_ms
        if trades != self.trades:
            return trades > self.trades
        return Decimal(volume) > Decimal(self.candle.volume)

    def is_unbroken(self, link: Link | None) -> bool:
        """Whether nothing can have been lost of it since it came, as an update, by its connection `link`."""
        return not self.snapshot and link is not None and link.epoch == self.epoch

    def may_flow_on(self, link: Link | None, end_ms: int) -> bool:
        """Whether its connection, unbroken, has yet to show that it flows past the candle's end."""
        return self.is_unbroken(link) and link is not None and link.newest_event_ms < end_ms

    def doubt(self, link: Link | None, end_ms: int) -> Reason | None:
        """None when its connection `link`, unbroken, has shown that it flows past the candle's end."""
        if link is None or not self.is_unbroken(link):
            return Reason.UNPROVEN
        return Reason.STALL if link.newest_event_ms < end_ms else None


@dataclass(slots=True)
class Final:
    """A recent final candle, kept to tell a revision from a repetition."""

    candle: Candle
    stamp_ms: int
    settled: bool
    by_clock: bool


@dataclass(slots=True)
class Unresolved:
    """Slots [from_ms, to_ms) that REST was asked about and has not settled yet."""

    from_ms: int
    to_ms: int
    reason: Reason


@dataclass(slots=True)
class Series:
    """One symbol and timeframe. A slot is a bucket of the UTC grid, named by its open.

    Every slot before `frontier` is decided: final, proven absent, given up, or in `unresolved`. Slots at or
    after it that are final already are in `ahead`; those that had frames but no proof in `seen`
    (True: of which a snapshot alone told).
    """

    symbol: str
    timeframe: Timeframe
    rank: int
    step: int = 0
    frontier: int | None = None
    held: Held | None = None
    newest_open: int = -1
    ahead: set[int] = field(default_factory=set)
    seen: dict[int, bool] = field(default_factory=dict)
    finals: dict[int, Final] = field(default_factory=dict)
    unresolved: list[Unresolved] = field(default_factory=list)
    primed: tuple[str, int, Candle] | None = None
    """Newest snapshot row: (connection, epoch, candle)."""
    connection: str = ""
    active_slot: int = -1
    unheard: int = 0
    """Buckets in a row that traded, as REST showed, without any frame."""
    activity: int = 0
    """Bit i: an update came for the slot i before `active_slot`."""

    def __post_init__(self) -> None:
        self.step = self.timeframe.ms

    def slot(self, open_ms: int) -> int:
        return open_ms - open_ms % self.step

    def mark_active(self, slot: int) -> None:
        behind = (self.active_slot - slot) // self.step
        if self.active_slot < 0 or behind < 0:
            shift = min(-behind, 32) if self.active_slot >= 0 else 32
            self.activity = ((self.activity << shift) | 1) & _ACTIVITY_BITS
            self.active_slot = slot
        elif behind < 32:
            self.activity |= 1 << behind

    def was_active(self, slot: int) -> bool:
        """Whether an update came for `slot`, one of the newest 32."""
        if self.active_slot < 0 or slot > self.active_slot:
            return False
        behind = (self.active_slot - slot) // self.step
        return behind < 32 and bool(self.activity >> behind & 1)

    def remember(self, final: Final) -> None:
        self.finals[final.candle.open_ms] = final
        if len(self.finals) > REMEMBERED_FINALS:
            del self.finals[min(self.finals)]

    def finalise(self, candle: Candle, stamp_ms: int, *, by_clock: bool = False) -> None:
        """The stream proved `candle` closed; `by_clock`: by its silence since."""
        self.remember(Final(candle, stamp_ms, settled=False, by_clock=by_clock))
        slot = self.slot(candle.open_ms)
        # An off-grid candle says nothing of another one in its slot that REST is asked for.
        self.decide(slot, answered=slot == candle.open_ms)

    def holds(self, slot: int) -> bool:
        """Whether the candle that is held lies in `slot`."""
        return self.held is not None and self.slot(self.held.candle.open_ms) == slot

    def doubt_held(self) -> None:
        """Something newer of the candle that is held may be lost: until the next update it is unproven."""
        if self.held is not None:
            self.held.epoch = NO_EPOCH

    def decide(self, slot: int, *, answered: bool = True) -> None:
        """`slot` is final or absent; the frontier moves over whatever is decided.

        `answered`: nothing of it is left to ask of REST.
        """
        self.seen.pop(slot, None)
        if answered:
            self.resolve(slot, slot + self.step)
        if self.frontier is None or slot < self.frontier:
            return
        if slot > self.frontier:
            self.ahead.add(slot)
            return
        self.advance()

    def advance(self) -> None:
        """Leave the slot at the frontier behind."""
        if self.frontier is None:
            return
        self.seen.pop(self.frontier, None)
        self.frontier += self.step
        while self.frontier in self.ahead:
            self.ahead.discard(self.frontier)
            self.seen.pop(self.frontier, None)
            self.frontier += self.step

    def question(self, slot: int, reason: Reason) -> None:
        """Add one slot to what REST shall settle."""
        last = self.unresolved[-1] if self.unresolved else None
        if last is not None and last.to_ms == slot and last.reason is reason:
            last.to_ms = slot + self.step
            return
        self.unresolved.append(Unresolved(slot, slot + self.step, reason))
        if len(self.unresolved) > MOST_RANGES:
            # What lies between two ranges is decided already: asking it again harms nothing.
            first, second = self.unresolved[:2]
            self.unresolved[:2] = [Unresolved(first.from_ms, second.to_ms, second.reason)]

    def reason_of(self, slot: int) -> Reason | None:
        """Why `slot` is unresolved, None when it is not."""
        for one in self.unresolved:
            if one.from_ms <= slot < one.to_ms:
                return one.reason
        return None

    def resolve(self, from_ms: int, to_ms: int) -> None:
        """Cut [from_ms, to_ms) out of what is unresolved."""
        if not self.unresolved:
            return
        kept: list[Unresolved] = []
        for one in self.unresolved:
            if to_ms <= one.from_ms or from_ms >= one.to_ms:
                kept.append(one)
                continue
            if one.from_ms < from_ms:
                kept.append(Unresolved(one.from_ms, from_ms, one.reason))
            if to_ms < one.to_ms:
                kept.append(Unresolved(to_ms, one.to_ms, one.reason))
        self.unresolved = kept

    def settled_until(self, now_ms: int) -> int:
        """Exchange ms through which every bucket that ended is decided and answered for."""
        if self.frontier is None:
            return 0
        floor = self.frontier
        if self.unresolved:
            floor = min(floor, min(one.from_ms for one in self.unresolved))
        if self.held is not None:
            floor = min(floor, self.held.candle.open_ms)
        return min(now_ms, floor + self.step - 1)


class Stalls:
    """Of which connections most symbols that were active a bucket ago are silent in this one."""

    def __init__(self, series: Iterable[Series], links: dict[str, Link]) -> None:
        self._series = series
        self._links = links
        self._known: dict[tuple[Timeframe, int], frozenset[str]] = {}
        self.standing: set[str] = set()
        """Unbroken ones of which no candle update came since the bucket's end: they should be renewed."""

    def of(self, timeframe: Timeframe, slot: int) -> frozenset[str]:
        known = self._known.get((timeframe, slot))
        if known is None:
            known = self._known[timeframe, slot] = self._find(timeframe, slot)
        return known

    def _find(self, timeframe: Timeframe, slot: int) -> frozenset[str]:
        active: dict[str, int] = {}
        silent: dict[str, int] = {}
        for series in self._series:
            if series.timeframe is timeframe and series.was_active(slot - series.step):
                active[series.connection] = active.get(series.connection, 0) + 1
                if not series.was_active(slot):
                    silent[series.connection] = silent.get(series.connection, 0) + 1
        stalled = {
            name
            for name, count in active.items()
            # Two symbols are no majority of anything.
            if count >= 3 and silent.get(name, 0) * 2 > count
        }
        end = slot + timeframe.ms
        # Since a break there was no update yet: that connection is being replaced, or the watchdog's.
        self.standing |= {name for name in stalled if 0 < self._links[name].newest_event_ms < end}
        return frozenset(stalled)


def questions_of(series: Series, doubts: Sequence[tuple[int, Reason]]) -> list[Question]:
    """One for each run of adjacent slots of `doubts`, which are in order."""
    runs: list[tuple[int, int, Reason]] = []
    for slot, reason in doubts:
        if runs and runs[-1][1] == slot:
            runs[-1] = (runs[-1][0], slot + series.step, runs[-1][2])
        else:
            runs.append((slot, slot + series.step, reason))
    questions = []
    for from_ms, to_ms, reason in runs:
        before = series.finals.get(from_ms - series.step)
        start = from_ms
        if before is not None and before.by_clock and not before.settled:
            # Closed by the clock, then silence: the stream may have died before that close.
            before.by_clock = False
            start = from_ms - series.step
        questions.append(Question(series.symbol, series.timeframe, start, to_ms, reason, series.rank))
    return questions
