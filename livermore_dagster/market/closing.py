"""When a streamed candle is final: only when that is proven (P3).

One `Closer` serves one exchange. It does no I/O: frames, clock readings, breaks and REST replies go in,
writes and questions come out. The caller writes `Effects.writes` to the candle cache in order, and has
`Effects.questions` answered by REST, whose reply comes back through `on_rest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from livermore_dagster.market.candle import Candle
from livermore_dagster.market.closing_belief import is_passed_over
from livermore_dagster.market.closing_clock import ClockLook, Waits
from livermore_dagster.market.closing_rest import LATE_MS, SETTLE_MS, is_deaf, settle_by_rest
from livermore_dagster.market.closing_state import BACK_MS, Final, Held, Link, Series, Stalls, questions_of
from livermore_dagster.market.closing_types import CloserStats, Effects, Frame, Question, Reason, Row
from livermore_dagster.market.closing_writes import final_write, late_write, open_write
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Closer", "CloserStats", "Effects", "Frame", "Question", "Reason", "Row"]


class Closer:
    """Decides for each symbol and streamed timeframe of one exchange when its candles are final.

    `symbols` in rank order. `flagged`: the exchange sends a closed flag (quirks.closed_flag). `grace_ms` is
    exchange time after a candle's end. The waits (`silent_wait_ms`, `flag_wait_ms`, `flow_wait_ms`) cover
    latencies and the update cadence, which are real time: they are multiplied by `speed`, which the service
    sets from `ExchangeClock.speed`; before frames it sets `observed_ms`, that clock's time: which to believe.
    Frames of symbols not monitored are ignored. `fills_empty`: REST has a row for every bucket, so that a
    missing one is late. Proof by the clock needs a candle update (of any symbol) of the same connection at or
    after the candle's end: a stalled stream closes nothing.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        timeframes: Sequence[Timeframe],
        *,
        flagged: bool,
        fills_empty: bool = False,
        grace_ms: int = 1_500,
        settle_ms: int = SETTLE_MS,
        silent_wait_ms: int = 5_000,
        flag_wait_ms: int = 10_000,
        flow_wait_ms: int = 5_000,
    ) -> None:
        self.timeframes = tuple(timeframes)
        self.flagged = flagged
        self.speed, self.observed_ms = 1.0, 0
        self.stats = CloserStats()
        self._waits = Waits(grace_ms, silent_wait_ms, flag_wait_ms, flow_wait_ms)
        self._settle_ms = settle_ms
        self._absent_ms = LATE_MS if fills_empty else settle_ms
        self._series: dict[tuple[str, Timeframe], Series] = {}
        self._links: dict[str, Link] = {}
        self._now_ms = 0
        self._next_due_ms = 0
        self._due_at_speed = 1.0
        self.monitor(symbols)

    def monitor(self, symbols: Sequence[str]) -> None:
        """The monitored symbols from now on, in rank order; those gone are forgotten."""
        kept: dict[tuple[str, Timeframe], Series] = {}
        for rank, symbol in enumerate(symbols):
            for timeframe in self.timeframes:
                series = self._series.get((symbol, timeframe)) or Series(symbol, timeframe, rank)
                series.rank = rank
                kept[symbol, timeframe] = series
        self._series = kept
        self._next_due_ms = 0

    # --- frames -----------------------------------------------------------------------------------------

    def on_frame(self, frame: Frame, connection: str) -> Effects:
        """A candle frame of `connection` (its name)."""
        return self.on_frames((frame,), connection)

    def on_frames(self, frames: Iterable[Frame], connection: str) -> Effects:
        """A burst of frames, in the order they came."""
        effects, now_ms = Effects(), max(self._now_ms, self.observed_ms)
        link = self._link(connection)
        for frame in frames:
            series = self._series.get((frame.symbol, frame.timeframe))
            if series is None or is_passed_over(series, frame, connection, now_ms, self.speed, effects):
                continue
            if frame.snapshot:
                self._snapshot(series, frame, connection, link, effects)
            else:
                self._update(series, frame, connection, link, effects)
        return effects

    def _update(self, series: Series, frame: Frame, connection: str, link: Link, effects: Effects) -> None:
        open_ms, event_ms = frame.candle.open_ms, frame.event_ms
        slot = open_ms - open_ms % series.step
        link.take(event_ms, self._waits.flow_ms * self.speed, BACK_MS * self.speed, self.stats)
        series.connection = connection
        series.unheard = 0
        if slot != series.active_slot:
            series.mark_active(slot)
        if series.frontier is None:
            series.frontier = slot
        final = series.finals.get(open_ms)
        if final is not None:
            self._maybe_revise(series, final, frame, effects)
            return
        held = series.held
        if self.flagged and held is not None and held.candle.open_ms < open_ms and series.holds(slot):
            # What is flagged in this slot from now on is the later candle.
            self._doubt(series, slot, open_ms, effects)
        if frame.closed and self.flagged:
            if held is not None and held.candle.open_ms <= open_ms:
                series.held = None
            series.newest_open = max(series.newest_open, open_ms)
            self._finalise(series, frame.candle, event_ms, frame.trades, effects)
            self.stats.by_flag += 1
        elif held is not None and held.candle.open_ms == open_ms:
            if self._replaces(held, frame, link):
                self._hold(series, frame, connection, link, effects)
            else:
                self.stats.repeated += 1
        elif open_ms > series.newest_open:
            if held is not None and not self.flagged:
                self._succeed(series, held, frame, connection, link, effects)
            self._hold(series, frame, connection, link, effects)
        else:
            self._behind(series, frame, slot, effects)

    def _link(self, connection: str) -> Link:
        return self._links.setdefault(connection, Link(len(self._links)))

    def _replaces(self, held: Held, frame: Frame, link: Link) -> bool:
        """Whether `frame` is newer, or says the same by a younger connection: of two that overlap that one
        stays, and proves what both told."""
        by = self._links.get(held.connection)
        if by is not None and by is not link and not held.snapshot and frame.candle == held.candle:
            return link.born > by.born or not held.is_unbroken(by)
        return held.is_older_than(frame.event_ms, frame.trades, frame.candle.volume) or (
            held.snapshot and frame.event_ms == held.event_ms
        )

    def _succeed(
        self, series: Series, held: Held, frame: Frame, connection: str, link: Link, effects: Effects
    ) -> None:
        """A newer bucket began: the held one is closed, proven so if nothing can be lost between."""
        series.held = None
        if held.connection == connection and held.epoch == link.epoch and not held.snapshot:
            self._finalise(series, held.candle, held.event_ms, held.trades, effects, frame.event_ms)
            self.stats.by_successor += 1
        else:
            slot = series.slot(held.candle.open_ms)
            self._doubt(series, slot, frame.candle.open_ms, effects, snapshot=held.snapshot)

    def _behind(self, series: Series, frame: Frame, slot: int, effects: Effects) -> None:
        """An update of an older bucket than the newest that is not (known to be) final."""
        frontier = series.frontier or 0
        if slot < frontier and series.reason_of(slot) is None:
            return
        if not self.flagged and frame.event_ms >= frame.candle.open_ms + series.step:
            # Said after its end, with its successor begun: these are its final values.
            self._finalise(series, frame.candle, frame.event_ms, frame.trades, effects)
            self.stats.by_successor += 1
            return
        if slot >= frontier:
            series.seen[slot] = False
        effects.writes.append(open_write(series, frame))

    def _hold(self, series: Series, frame: Frame, connection: str, link: Link, effects: Effects) -> None:
        open_ms, event_ms = frame.candle.open_ms, frame.event_ms
        if series.held is not None and series.held.candle.open_ms == open_ms:
            # The same by a younger connection may be stamped earlier: older values stay older than that.
            event_ms = max(event_ms, series.held.event_ms)
        series.held = Held(frame.candle, event_ms, frame.trades, connection, link.epoch, frame.snapshot)
        if open_ms > series.newest_open:
            series.newest_open = open_ms
            self._next_due_ms = min(self._next_due_ms, open_ms + series.step + self._waits.grace_ms)
            if self.flagged and series.frontier is not None and series.slot(open_ms) >= series.frontier:
                series.seen[series.slot(open_ms)] = False
        effects.writes.append(open_write(series, frame))

    def _maybe_revise(self, series: Series, final: Final, frame: Frame, effects: Effects) -> None:
        """A frame of a final bucket: a revision when it is newer and says something else."""
        if frame.event_ms <= final.stamp_ms or final.settled or (self.flagged and not frame.closed):
            self.stats.repeated += 1
            return
        final.stamp_ms = frame.event_ms
        if frame.candle == final.candle:
            return
        final.candle = frame.candle
        self.stats.revisions += 1
        proven_ms = max(self._now_ms, frame.event_ms)
        effects.writes.append(final_write(series, frame.candle, frame.event_ms, frame.trades, proven_ms))

    def _snapshot(self, series: Series, frame: Frame, connection: str, link: Link, effects: Effects) -> None:
        """A row of a snapshot: closed, and history, when a newer row is beside it. The newest only primes."""
        candle, primed = frame.candle, series.primed
        if primed is None or primed[:2] != (connection, link.epoch):
            series.primed = (connection, link.epoch, candle)
        elif candle.open_ms > primed[2].open_ms:
            self._late(series, primed[2], effects)
            series.primed = (connection, link.epoch, candle)
        elif candle.open_ms < primed[2].open_ms:
            self._late(series, candle, effects)
            return
        if candle.open_ms + series.step <= frame.event_ms or candle.open_ms in series.finals:
            return
        held = series.held
        if held is None and candle.open_ms >= series.newest_open:
            self._hold(series, frame, connection, link, effects)
        elif held is not None and held.candle.open_ms < candle.open_ms:
            self._doubt(series, series.slot(held.candle.open_ms), candle.open_ms, effects)
            self._hold(series, frame, connection, link, effects)
        elif (
            held is not None
            and held.candle.open_ms == candle.open_ms
            # A snapshot may be older than updates that came before it; volume only grows.
            and Decimal(candle.volume) > Decimal(held.candle.volume)
        ):
            self._hold(series, frame, connection, link, effects)

    def _late(self, series: Series, candle: Candle, effects: Effects) -> None:
        if candle.open_ms in series.finals:
            return
        self.stats.late += 1
        proven_ms = max(self._now_ms, candle.open_ms + series.step)
        effects.writes.append(late_write(series, candle, proven_ms))

    # --- time -------------------------------------------------------------------------------------------

    def on_clock(self, exchange_ms: int) -> Effects:
        """The exchange clock reads `exchange_ms`. Call after every burst and about 10 times a second."""
        effects = Effects()
        self._now_ms = max(self._now_ms, exchange_ms)
        if self._now_ms < self._next_due_ms and self.speed >= self._due_at_speed:
            return effects
        stalls = Stalls(self._series.values(), self._links)
        look = ClockLook(self._now_ms, self.speed, self._waits, self._links, stalls, effects, self.stats)
        due = self._now_ms + 3_600_000
        for series in self._series.values():
            if series.frontier is None:
                series.frontier = series.timeframe.open_of(self._now_ms)
            doubts: list[tuple[int, Reason]] = []
            due = min(due, (look.judge_flagged if self.flagged else look.judge)(series, doubts))
            if doubts:
                self._ask(series, doubts, effects)
        effects.stalled |= stalls.standing
        self._next_due_ms, self._due_at_speed = due, self.speed
        return effects

    def _doubt(
        self, series: Series, slot: int, newer_ms: int, effects: Effects, *, snapshot: bool = False
    ) -> None:
        """A bucket with frames lost its proof: the next look at the clock asks for it.

        At once where that look would not see it: `slot` is past, or goes on with an off-grid candle, one that
        began at `newer_ms`, after an outage say. `snapshot`: no other frame told of it.
        """
        if series.frontier is not None and slot >= series.frontier and slot != series.slot(newer_ms):
            series.seen[slot] = snapshot
        else:
            self.stats.primed += snapshot
            self._ask(series, [(slot, Reason.UNPROVEN)], effects)
        self._next_due_ms = 0

    def _ask(self, series: Series, doubts: list[tuple[int, Reason]], effects: Effects) -> None:
        for slot, reason in doubts:
            series.question(slot, reason)
            self.stats.doubted(reason)
        effects.questions += questions_of(series, doubts)

    # --- connections and REST ---------------------------------------------------------------------------

    def on_break(self, connection: str, reason: str) -> Effects:
        """Frames of `connection` may be lost: it dropped, stalled, was renewed, skipped a sequence number."""
        link = self._link(connection)
        link.epoch += 1
        link.newest_event_ms = 0
        self._next_due_ms = 0
        return Effects()

    def on_unread(self, connection: str, symbol: str | None, reason: str) -> Effects:
        """An update came that could not be read, of `symbol` alone, or of any if None: as if it were lost."""
        if symbol is None:
            return self.on_break(connection, reason)
        for timeframe in self.timeframes:
            if (symbol, timeframe) in self._series:
                self._series[symbol, timeframe].doubt_held()
        self._next_due_ms = 0
        return Effects()

    def on_rest(
        self,
        symbol: str,
        timeframe: Timeframe,
        from_ms: int,
        to_ms: int,
        rows: Sequence[Row],
        asked_ms: int,
    ) -> Effects:
        """REST answered for all of [from_ms, to_ms) when asked at exchange time `asked_ms` or later.

        `rows` may hold open rows and rows outside the range; they count as evidence only.
        """
        series = self._series.get((symbol, timeframe)) or Series(symbol, timeframe, 0)
        deaf = {symbol} if is_deaf(series, (from_ms, to_ms), rows) else set[str]()
        effects = settle_by_rest(series, (from_ms, to_ms), rows, asked_ms, self._settle_ms, self._absent_ms)
        self.stats.by_rest += len(effects.writes)
        effects.deaf |= deaf
        self._next_due_ms = 0
        return effects

    def on_given_up(self, symbol: str, timeframe: Timeframe, from_ms: int, to_ms: int) -> None:
        """REST could not answer for [from_ms, to_ms): it is not waited for; the next audit finds it."""
        series = self._series.get((symbol, timeframe))
        if series is not None:
            series.resolve(from_ms, to_ms)
            self.stats.given_up += (to_ms - from_ms) // series.step

    # --- answers ----------------------------------------------------------------------------------------

    def open_questions(self) -> list[Question]:
        """Questions asked and not yet settled, in rank order."""
        return [
            Question(series.symbol, series.timeframe, one.from_ms, one.to_ms, one.reason, series.rank)
            for series in self._series.values()
            for one in series.unresolved
        ]

    def settled_until(self) -> int:
        """Exchange ms through which every series is final, proven absent or given up; 0 at first."""
        return min((series.settled_until(self._now_ms) for series in self._series.values()), default=0)

    def series_settled_until(self, symbol: str, timeframe: Timeframe) -> int:
        """The same of one series."""
        return self._series[symbol, timeframe].settled_until(self._now_ms)

    # --- writes -----------------------------------------------------------------------------------------

    def _finalise(
        self,
        series: Series,
        candle: Candle,
        stamp_ms: int,
        trades: int,
        effects: Effects,
        proven_ms: int = 0,
    ) -> None:
        series.finalise(candle, stamp_ms)
        proven_ms = max(self._now_ms, proven_ms or stamp_ms)
        effects.writes.append(final_write(series, candle, stamp_ms, trades, proven_ms))
