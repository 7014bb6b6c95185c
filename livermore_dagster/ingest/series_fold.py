"""One series on its way from closes to values and alerts: state, rules, watermark, revisions. No I/O.

How a close is taken:
- it opens after the newest row: one step, after the cache's rows in between; bars that are neither there nor
  proven absent make the caller wait first;
- it opens at or before it, and was not part of the cache when that was last read: the rows from there on are
  folded again, from a kept state or, further back, from the cache (series_rejudge), and alerts are added as
  revised, or withdrawn; what is older than all that was ever judged seeds the series anew, without alerts.

Alerts are judged only for rows after the watermark. A new series gets it with its first close: the newest
bar closed when its warm-up was through, or when its timeframe came to be computed, if that was later. Where
that is not known yet it gets it with its first close that is not history: the bar before that close, or
before the newest bar closed when that close was asked for. While a series is warming and the exchange has
older bars, nothing is judged and the watermark stays, so that what closed meanwhile is judged when the older
bars have come.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from livermore_dagster.ingest.series_outcome import NewAlert, Outcome
from livermore_dagster.market.alert_rules import Raised, RuleState, changes, judge, late
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.macdv import PUBLISH_FROM, SETTLED_FROM, MacdvPoint, State, step
from livermore_dagster.market.series_macdv import columns_of
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["KEPT", "Kept", "SeriesFold"]

_encode = msgspec.json.Encoder().encode
KEPT: Final = 4
"""The newest state and the three before it: so far back a revision re-folds exactly."""


class Kept(NamedTuple):
    """The fold after one row. `value`: MACD-V at the newest observed row. `labels`: alerts of this row."""

    state: State
    rules: RuleState
    value: float | None
    labels: tuple[str, ...]


@dataclass(slots=True)
class SeriesFold:
    """One symbol and timeframe. `to_json` and `from_json` carry it over a restart."""

    symbol: str
    timeframe: Timeframe
    kept: list[Kept] = field(default_factory=list)
    watermark: int | None = None
    """Open of the newest row judged; None while only history has come."""
    judged_from: int | None = None
    """Rows that open before this are history that was never judged, nor will be (epoch ms)."""
    included: str = "0-0"
    """Closes up to this entry were in the cache when it was last read …"""
    included_from: int = 0
    """… and folded as they were there, where they open at or after this and before `included_to` (epoch ms):
    others were not looked at, or taken from their closes."""
    included_to: int = 0
    owed_from: int | None = None
    """What opens from here on is to be folded again when the cache has its rows once more (epoch ms)."""
    unknown_bars: int = 0
    """Bars stepped over that were neither there nor proven absent."""
    history_start: int | None = None
    """Open of the first bar the exchange has, where that is known."""
    first_ms: int | None = None
    """Open of the first row folded."""
    unnoted: dict[int, list[str]] = field(default_factory=dict)
    """Labels by open of alerts after the watermark: stored by a round that ended before its state was."""
    point: MacdvPoint | None = None
    """Newest point; not kept over a restart."""

    @property
    def newest_ms(self) -> int | None:
        """Open of the newest row folded."""
        return self.kept[-1].state.open_ms if self.kept else None

    @property
    def before_newest(self) -> tuple[float, int] | None:
        """Value at the observed row before the newest observed one, and the bars between, if kept."""
        newest = self.kept[-1].state if self.kept else None
        for state, _, value, _ in reversed(self.kept):
            if newest is not None and state.observed_ms != newest.observed_ms and value is not None:
                tf_ms = self.timeframe.ms
                return value, newest.observed_ms // tf_ms - state.observed_ms // tf_ms
        return None

    @property
    def whole_history(self) -> bool:
        """The exchange has no bars older than the first one here: it may alert while warming."""
        if self.first_ms is None or self.history_start is None:
            return False
        return self.first_ms <= self.history_start

    def includes(self, entry_id: str, open_ms: int) -> bool:
        """Whether the close at `entry_id` was folded when the cache was last read."""
        known = self.included_from <= open_ms < self.included_to
        return known and _parts(entry_id) <= _parts(self.included)

    @property
    def warming(self) -> bool:
        return not self.kept or self.kept[-1].state.n_eff < SETTLED_FROM

    def first_contact(self, open_ms: int, stamp_ms: int) -> bool:
        """A close that is not history: from here on rows are judged. True for the first of a series.

        A boundary or repair run may bring a whole history at once: only what was the newest closed bar when
        it was asked for (`stamp_ms`, exchange clock) is news.
        """
        if self.watermark is not None:
            return False
        newest_closed = self.timeframe.open_of(stamp_ms) - self.timeframe.ms
        self._judge_from(max(open_ms, newest_closed))
        return True

    def news_from(self, at_ms: int) -> None:
        """Its history was there, and it was computed, at `at_ms` (exchange clock): what closed since is news,
        however late the first close that is not history comes, if the instance lives to see it at all. What
        of it was folded unjudged, as the cache had it when the history was read, is folded again as its close
        comes.
        """
        begin_ms = self.timeframe.open_of(at_ms)
        self._judge_from(begin_ms)
        self.included_to = min(self.included_to, begin_ms)

    def _judge_from(self, open_ms: int) -> None:
        self.judged_from, self.watermark = open_ms, open_ms - 1
        # Those of a former life of the series are of its history now.
        self.unnoted = {at: labels for at, labels in self.unnoted.items() if at >= open_ms}

    def is_judged(self, open_ms: int) -> bool:
        return self.judged_from is not None and open_ms >= self.judged_from

    def is_beyond(self, open_ms: int) -> bool:
        """Whether that row was, or should have been, judged, and no state is kept from before it."""
        return self.is_judged(open_ms) and bool(self.kept) and open_ms <= self._opens(0)

    def again_from(self, open_ms: int) -> int | None:
        """The open from which rows are to be folded again as the row at `open_ms` comes; None: none are."""
        wanted = [] if self.owed_from is None else [self.owed_from]
        if self.kept and open_ms <= self._opens(-1):
            wanted.append(open_ms)
        # To judge again is to compute anew all that lies before it as well.
        return min(wanted, key=lambda at: (not self.is_judged(at), at), default=None)

    def is_among(self, rows: Sequence[StampedCandle]) -> bool:
        """Whether `rows` have those of the kept states; a cache that is being filled again may lack them."""
        return {kept.state.open_ms for kept in self.kept} <= {row.candle.open_ms for row in rows}

    def owe(self, from_ms: int) -> None:
        """All that opens from there on is folded again when the cache has its rows."""
        self.owed_from = from_ms
        end = self._opens(-1) + 1
        judged = end if self.judged_from is None else self.judged_from
        # A judged row further on, of which a close tells, is to be judged again: that is owed then.
        self.included_from, self.included_to = from_ms, end if self.is_judged(from_ms) else min(end, judged)

    def learn_stored(self, standing: Iterable[tuple[int, str]]) -> None:
        """Alerts that stand, as its closes are taken again: of rows revised meanwhile others come of them."""
        stored: dict[int, list[str]] = {}
        for open_ms, label in standing:
            stored.setdefault(open_ms, []).append(label)
        self.kept = [one._replace(labels=tuple(stored.get(one.state.open_ms, ()))) for one in self.kept]
        judged = -1 if self.watermark is None else self.watermark
        self.unnoted = {open_ms: labels for open_ms, labels in stored.items() if open_ms > judged}

    def restart(self, first_ms: int) -> None:
        """Forgets all states: the whole series, from that row on, is being computed anew."""
        self.included_from, self.included_to = 0, (self.newest_ms or 0) + 1
        self.kept, self.first_ms, self.owed_from = [], first_ms, None

    def bars_before(self, open_ms: int) -> range:
        """Grid opens between the newest row and `open_ms`."""
        newest, tf_ms = self.newest_ms, self.timeframe.ms
        if newest is None:
            return range(0)
        return range((newest // tf_ms + 1) * tf_ms, open_ms // tf_ms * tf_ms, tf_ms)

    # --- taking rows ------------------------------------------------------------------------------------
    def take(self, stamped: StampedCandle, now_ms: int, outcome: Outcome) -> None:
        """Steps over `stamped`, which opens after the newest row. `now_ms`: exchange clock."""
        before = self.kept[-1] if self.kept else None
        state, point = step(before.state if before else None, stamped.candle, self.timeframe)
        self.first_ms = state.first_open_ms
        rules = before.rules if before else RuleState()
        value = before.value if before else None
        rules, raised = self._judge(stamped, point, rules, value)
        history = stamped.origin.is_history
        for one in raised:
            tardy = late(stamped.end_ms, now_ms, self.timeframe.ms, history=history)
            outcome.alerts.append(NewAlert(stamped, point, one, tardy, revised=False))
        self._take_back(point, raised, outcome)
        self._keep(state, rules, point, value, raised)
        outcome.points.append(point)
        outcome.newest = stamped
        self.point = point

    def may_alert(self, point: MacdvPoint) -> bool:
        if not point.observed or point.n_eff < PUBLISH_FROM:
            return False
        return self.tells(point)

    def tells(self, point: MacdvPoint) -> bool:
        """Whether the series reaches far enough back to say which alerts a row should have, or not (R12)."""
        return point.n_eff >= SETTLED_FROM or self.whole_history

    def _take_back(self, point: MacdvPoint, raised: Sequence[Raised], outcome: Outcome) -> None:
        if self.watermark is None:
            return
        labels = [one.label for one in raised]
        for label in self.unnoted.pop(point.open_ms, ()):
            if label not in labels and self.tells(point):
                outcome.withdraw(point.open_ms, label)

    def _judge(
        self, stamped: StampedCandle, point: MacdvPoint, rules: RuleState, value: float | None
    ) -> tuple[RuleState, list[Raised]]:
        if self.watermark is None or point.open_ms <= self.watermark or not self.may_alert(point):
            return rules, []
        self.watermark = point.open_ms
        return judge(rules, value, point.macdv, point.histogram, stamped.end_ms)

    def _keep(
        self, state: State, rules: RuleState, point: MacdvPoint, value: float | None, raised: Sequence[Raised]
    ) -> None:
        labels = tuple(one.label for one in raised)
        self.kept.append(Kept(state, rules, point.macdv if point.observed else value, labels))
        del self.kept[:-KEPT]

    # --- revisions and older rows -----------------------------------------------------------------------
    def refold(self, from_ms: int, rows: Sequence[StampedCandle], now_ms: int, outcome: Outcome) -> None:
        """Folds again what opens at `from_ms` or later. `rows`: the cache's, final, oldest first."""
        self.owed_from = None
        base = next((at for at in range(len(self.kept) - 1, -1, -1) if self._opens(at) < from_ms), None)
        if base is None:
            # Up to the newest row folded: there may be a hole behind it, which its own closes wait for.
            until = self._opens(-1) if self.kept else None
            whole = [row for row in rows if until is None or row.candle.open_ms <= until]
            self.seed(whole, now_ms, outcome)
            return
        self.included_from, self.included_to = from_ms, self._opens(-1) + 1
        undone = {kept.state.open_ms: kept for kept in self.kept[base + 1 :]}
        newest = self._opens(-1)
        del self.kept[base + 1 :]
        start = self._opens(-1)
        for stamped in rows:
            if start < stamped.candle.open_ms <= newest:
                old = undone.get(stamped.candle.open_ms)
                self._take_again(stamped, now_ms, old.labels if old else (), outcome)

    def _opens(self, at: int) -> int:
        return self.kept[at].state.open_ms

    def _take_again(
        self, stamped: StampedCandle, now_ms: int, labels: tuple[str, ...], outcome: Outcome
    ) -> None:
        judged = self.watermark
        opens = stamped.candle.open_ms
        if judged is None or opens > judged or (self.judged_from is not None and opens < self.judged_from):
            self.take(stamped, now_ms, outcome)
            return
        self.watermark = stamped.candle.open_ms - 1
        again = Outcome()
        self.take(stamped, now_ms, again)
        self.watermark = judged
        added, gone = changes(labels, [alert.raised.label for alert in again.alerts])
        outcome.points += again.points
        outcome.newest = again.newest
        for label in gone:
            outcome.withdraw(opens, label)
        for alert in again.alerts:
            if alert.raised.label in added:
                outcome.add(NewAlert(alert.stamped, alert.point, alert.raised, alert.late, revised=True))

    def seed(self, rows: Sequence[StampedCandle], now_ms: int, outcome: Outcome) -> None:
        """Computes the series anew from the cache's final rows, oldest first; judges those after the
        watermark."""
        if not rows:
            return
        self.included_from, self.included_to = 0, rows[-1].candle.open_ms + 1
        self.first_ms = rows[0].candle.open_ms
        columns = columns_of(rows, self.timeframe)
        before, rules = self.kept, RuleState()
        known = {kept.state.open_ms: kept.labels for kept in before}
        first_new = len(rows) if self.watermark is None else self._first_after(rows, self.watermark)
        start = max(0, min(first_new, len(rows) - KEPT))
        value = next((columns.point(i).macdv for i in range(start - 1, -1, -1) if columns.observed[i]), None)
        self.kept = []
        for index in range(start, len(rows)):
            stamped, point = rows[index], columns.point(index)
            if index <= first_new:
                # What is judged already is not judged here: the rules are those there were after it.
                judged = point.open_ms if self.watermark is None else min(point.open_ms, self.watermark)
                rules = _rules_after(before, judged)
            rules, raised = self._judge(stamped, point, rules, value)
            for one in raised:
                tardy = late(stamped.end_ms, now_ms, self.timeframe.ms, history=stamped.origin.is_history)
                outcome.alerts.append(NewAlert(stamped, point, one, tardy, revised=False))
            self._take_back(point, raised, outcome)
            labels = tuple(one.label for one in raised) or known.get(point.open_ms, ())
            value = point.macdv if point.observed else value
            if index >= len(rows) - KEPT:
                self.kept.append(Kept(columns.state(index), rules, value, labels))
            if index >= first_new or index == len(rows) - 1:
                outcome.points.append(point)
            self.point = point
        outcome.newest = rows[-1]

    @staticmethod
    def _first_after(rows: Sequence[StampedCandle], open_ms: int) -> int:
        return next((i for i, row in enumerate(rows) if row.candle.open_ms > open_ms), len(rows))

    # --- over a restart ---------------------------------------------------------------------------------
    def to_json(self) -> str:
        known = {
            "kept": self.kept,
            "watermark": self.watermark,
            "judged_from": self.judged_from,
            "included": self.included,
            "included_from": self.included_from,
            "included_to": self.included_to,
            "owed_from": self.owed_from,
            "unknown_bars": self.unknown_bars,
            "history_start": self.history_start,
        }
        return _encode(known).decode()

    @classmethod
    def from_json(cls, symbol: str, timeframe: Timeframe, text: str) -> SeriesFold:
        """States of another formula are left out: the series is then seeded anew, its watermark stays."""
        given = json.loads(text)
        fold = cls(symbol, timeframe, watermark=given["watermark"], unknown_bars=given["unknown_bars"])
        fold.history_start, fold.judged_from = given["history_start"], given.get("judged_from")
        for state_values, rule_values, value, labels in given["kept"]:
            state = State.from_json(json.dumps(state_values))
            if state is not None:
                rules = RuleState.from_json(json.dumps(rule_values))
                fold.kept.append(Kept(state, rules, value, tuple(labels)))
        if fold.kept:
            fold.included, fold.included_from = given["included"], given.get("included_from", 0)
            fold.included_to, fold.owed_from = given.get("included_to", 0), given.get("owed_from")
            fold.first_ms = fold.kept[-1].state.first_open_ms
        return fold


def _rules_after(kept: Sequence[Kept], open_ms: int) -> RuleState:
    return next((one.rules for one in reversed(kept) if one.state.open_ms <= open_ms), RuleState())


def _parts(entry_id: str) -> tuple[int, int]:
    """Stream ids in their order."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)
