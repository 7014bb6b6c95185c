"""A close that takes more than the kept states: rows of the cache, and at times the alerts that stand.

A candle revised, or filled in, further back than states are kept is computed and judged again from it on
(S6b). The states before it are gone, so the series is computed anew over the cache, and what its rules
remembered then is told from the alerts that stand and from the values since. Where the cache begins too near
to tell (R12), alerts stand as they do. While it lacks rows that were folded already, as one that is being
filled again does, all this is owed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from livermore_dagster.ingest.series_fold import KEPT, Kept, SeriesFold
from livermore_dagster.ingest.series_outcome import NewAlert, Outcome
from livermore_dagster.market.alert_rules import COOLDOWN_MS, Raised, RuleState, changes, crosses, judge, late
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.macdv import MacdvPoint
from livermore_dagster.market.series_macdv import columns_of
from livermore_dagster.stores.redis.closes import Close

__all__ = ["Known", "rejudge", "take_with_cache"]

Known = tuple[int, str]
"""An alert of the series: open of its candle and label."""
_REVERSAL: Final = "reversal"


def take_with_cache(
    fold: SeriesFold,
    close: Close,
    rows: Sequence[StampedCandle],
    standing: Iterable[Known] | None,
    now_ms: int,
    outcome: Outcome,
) -> None:
    """Takes a close with the series' final rows, oldest first. `standing`: where SeriesFold.is_beyond."""
    open_ms, newest = close.candle.open_ms, fold.newest_ms
    if newest is None:
        fold.seed(rows or [close.stamped()], now_ms, outcome)
        if open_ms > (fold.newest_ms or 0):
            fold.take(close.stamped(), now_ms, outcome)
        return
    from_ms = fold.again_from(open_ms)
    if from_ms is not None:
        if not fold.is_among(rows):
            fold.owe(from_ms)
        elif standing is not None:
            rejudge(fold, from_ms, rows, standing, now_ms, outcome)
        else:
            fold.refold(from_ms, rows, now_ms, outcome)
    if open_ms > newest:
        for row in rows:
            if newest < row.candle.open_ms < open_ms:
                fold.take(row, now_ms, outcome)
        fold.take(close.stamped(), now_ms, outcome)
        if from_ms is None or fold.owed_from is not None:
            fold.included_from = newest + 1
        fold.included_to = open_ms


def rejudge(
    fold: SeriesFold,
    from_ms: int,
    rows: Sequence[StampedCandle],
    standing: Iterable[Known],
    now_ms: int,
    outcome: Outcome,
) -> None:
    """Folds and judges again all that opens at `from_ms` or later, up to the newest row folded.

    `rows`: the cache's, final, oldest first. `standing`: stored alerts that were not withdrawn. `outcome` is
    of the same round, whose alerts are not stored yet.
    """
    newest = fold.newest_ms
    whole = [row for row in rows if newest is not None and row.candle.open_ms <= newest]
    if not whole or newest is None:
        return
    known = outcome.standing(standing)
    columns = columns_of(whole, fold.timeframe)
    points = [columns.point(at) for at in range(len(whole))]
    first = next((at for at, row in enumerate(whole) if row.candle.open_ms >= from_ms), len(whole))
    start = max(0, min(first, len(whole) - KEPT))
    rules: RuleState | None = None
    value = next((point.macdv for point in reversed(points[:start]) if point.observed), None)
    fold.restart(whole[0].candle.open_ms)
    watermark = fold.watermark or 0
    for at in range(start, len(whole)):
        stamped, point = whole[at], points[at]
        labels = [label for open_ms, label in known if open_ms == point.open_ms]
        if fold.is_judged(point.open_ms) and fold.tells(point):
            rules = rules or _rules_before(point.open_ms, stamped, points[:at], known)
            raised: list[Raised] = []
            if fold.may_alert(point):
                rules, raised = judge(rules, value, point.macdv, point.histogram, stamped.end_ms)
                fold.watermark = max(fold.watermark or 0, point.open_ms)
            tardy = late(stamped.end_ms, now_ms, fold.timeframe.ms, history=stamped.origin.is_history)
            found = [NewAlert(stamped, point, one, tardy, point.open_ms <= watermark) for one in raised]
            labels = _told(labels, found, point.open_ms, outcome)
        else:
            # None is raised where the cache begins too near: that takes back nothing.
            rules = None
        value = point.macdv if point.observed else value
        if at >= len(whole) - KEPT:
            after = rules or _rules_before(point.open_ms + 1, stamped, points[: at + 1], known)
            fold.kept.append(Kept(columns.state(at), after, value, tuple(labels)))
        outcome.points.append(point)
        fold.point = point
    outcome.newest = whole[-1]


def _told(before: list[str], found: Sequence[NewAlert], open_ms: int, outcome: Outcome) -> list[str]:
    """What a row's alerts are now, and to `outcome` how they differ from what they were."""
    labels = [one.raised.label for one in found]
    added, gone = changes(before, labels)
    for one in found:
        if one.raised.label in added:
            outcome.add(one)
    for label in gone:
        outcome.withdraw(open_ms, label)
    return labels


def _rules_before(
    opens: int, row: StampedCandle, earlier: Sequence[MacdvPoint], known: Sequence[Known]
) -> RuleState:
    """What the rules remembered at `row` of the alerts of candles that open before `opens` (epoch ms)."""
    step = row.timeframe.ms
    past = sorted((at, label.startswith(_REVERSAL), label) for at, label in known if at < opens)
    cooling = {label: at + step for at, _, label in past if row.end_ms - at - step < COOLDOWN_MS}
    fired = max((at for at, is_reversal, _ in past if is_reversal), default=None)
    observed = [point for point in earlier if point.observed]
    armed = fired is None or any(
        crosses(before.macdv, point.macdv) for before, point in pairwise(observed) if point.open_ms > fired
    )
    return RuleState(armed, tuple(cooling.items()), past[-1][2] if past else None)
