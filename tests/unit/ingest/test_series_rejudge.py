"""What a revision changes of a series' alerts, wherever it comes: nothing but what it must (S6b)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from livermore_dagster.ingest.series_fold import SeriesFold
from livermore_dagster.ingest.series_outcome import Outcome
from livermore_dagster.ingest.series_rejudge import Known, take_with_cache
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle, canonical
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.closes import Close
from tests.e2e import oracle

M5 = Timeframe.M5
BEGIN = 1_767_225_600_000
CACHED = 1_000
WARM, BARS = 300, 1_500
FORGOTTEN = 300
"""Bars after which a value no longer depends on where its series begins."""


def stamped(index: int, close: float, origin: Origin = Origin.LIVE) -> StampedCandle:
    open_ms = BEGIN + index * M5.ms
    high, low = (canonical(f"{close * factor:.6f}") for factor in (1.002, 0.998))
    price = canonical(f"{close:.6f}")
    candle = Candle(open_ms, price, high, low, price, "5")
    end = open_ms + M5.ms
    return StampedCandle("AAAUSDT", M5, candle, Rank.FINAL, end + 1_000, origin, -1, end + 1_000)


@cache
def market(seed: int) -> list[StampedCandle]:
    draw, price, found = random.Random(seed), 100.0, []
    phase = draw.uniform(10, 20)
    for index in range(BARS + 100):
        price *= math.exp(0.0035 * math.sin(index / phase) + draw.gauss(0, 0.001))
        found.append(stamped(index, price))
    return found


class Life:
    """A series, its cache and the alerts that stand, each close taken as the consumer takes it."""

    def __init__(self, rows: Sequence[StampedCandle], warm: int = WARM) -> None:
        self.fold = SeriesFold("AAAUSDT", M5)
        self.cached = {row.candle.open_ms: row for row in rows[:warm]}
        self.standing: set[Known] = set()
        self.withdrawn: set[Known] = set()
        self.entry = 0
        self.fold.seed(rows[:warm], 0, Outcome())
        self.fold.first_contact(rows[warm].candle.open_ms, rows[warm].stamp_ms)
        for row in rows[warm:]:
            self.close(row)

    def copy(self) -> Life:
        twin = Life.__new__(Life)
        twin.fold = SeriesFold.from_json("AAAUSDT", M5, self.fold.to_json())
        twin.cached, twin.standing = dict(self.cached), {*self.standing}
        twin.withdrawn, twin.entry = set(), self.entry
        return twin

    def rows(self) -> list[StampedCandle]:
        return [self.cached[open_ms] for open_ms in sorted(self.cached)][-CACHED:]

    def close(self, row: StampedCandle) -> Outcome:
        self.write([row])
        return self.look(row)

    def write(self, rows: Sequence[StampedCandle]) -> None:
        self.cached |= {row.candle.open_ms: row for row in rows}
        self.entry += len(rows)

    def look(self, row: StampedCandle) -> Outcome:
        outcome = Outcome()
        at = self.fold.again_from(row.candle.open_ms)
        if at is None and not self.fold.bars_before(row.candle.open_ms):
            self.fold.take(row, row.proven_ms, outcome)
        else:
            known = sorted(self.standing) if at is not None and self.fold.is_beyond(at) else None
            close = Close(
                f"{self.entry}-0", row.symbol, M5, row.candle, row.rank, row.stamp_ms, row.origin,
                row.proven_ms, 0, True, -1,
            )  # fmt: skip
            take_with_cache(self.fold, close, self.rows(), known, row.proven_ms, outcome)
            self.fold.included = close.entry_id
        gone = {(one.open_ms, one.label) for one in outcome.vanished}
        self.withdrawn |= gone
        self.standing = {*outcome.standing(self.standing)}
        return outcome


@cache
def life(seed: int) -> Life:
    return Life(market(seed)[:BARS])


def as_volume(row: StampedCandle, volume: str = "5.01") -> StampedCandle:
    return replace(row, candle=replace(row.candle, volume=volume), rank=Rank.SETTLED)


SEEDS, BACK = st.integers(1, 6), st.integers(0, CACHED - 1)


@settings(max_examples=25)
@given(SEEDS, BACK)
def test_a_revision_of_the_volume_alone_changes_no_alert_wherever_it_comes(seed: int, back: int) -> None:
    one = life(seed).copy()
    outcome = one.close(as_volume(one.rows()[-1 - back]))
    assert (outcome.alerts, outcome.vanished) == ([], [])
    assert one.standing == life(seed).standing
    # The rules remember what they did: what follows raises what it would have.
    other = life(seed).copy()
    for row in market(seed)[BARS:]:
        one.close(row)
        other.close(row)
    assert one.standing == other.standing
    assert one.fold.watermark == other.fold.watermark


@settings(max_examples=15)
@given(SEEDS, BACK, st.sampled_from([0.97, 0.985, 1.015, 1.03]))
def test_a_revised_price_leaves_what_the_written_rules_say_of_the_whole_series(
    seed: int, back: int, factor: float
) -> None:
    rows, one = market(seed)[:BARS], life(seed).copy()
    old = one.rows()[-1 - back]
    new = replace(stamped(BARS - 1 - back, float(old.candle.close) * factor), rank=Rank.SETTLED)
    one.close(new)
    bars = [
        oracle.Bar(c.open_ms, float(c.open), float(c.high), float(c.low), float(c.close), float(c.volume))
        for c in (new.candle if row is old else row.candle for row in rows)
    ]
    found = oracle.alerts(bars, M5.ms, rows[WARM].candle.open_ms - 1, rows[-1].end_ms, whole_history=False)
    settled = max(rows[BARS - CACHED + FORGOTTEN].candle.open_ms, 0)
    wanted = {(alert.open_ms, alert.label) for alert in found}
    assert {known for known in one.standing if known[0] >= settled} == {
        known for known in wanted if known[0] >= settled
    }
    # Where the cache begins too near to tell, all stands as it did.
    unsettled = rows[BARS - CACHED + 199].candle.open_ms
    assert {known for known in one.standing if known[0] < unsettled} == {
        known for known in life(seed).standing if known[0] < unsettled
    }


@settings(max_examples=40)
@given(SEEDS, st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 3))
def test_older_history_leaves_the_rules_of_what_was_judged_as_they_were(
    seed: int, alert: int, after: int, back: int
) -> None:
    """The series is seeded anew by it; a harmless revision of a newest candle then takes nothing back."""
    alerts = sorted(life(seed).standing)
    upto = (alerts[alert % len(alerts)][0] - BEGIN) // M5.ms + after
    rows = market(seed)[max(0, upto - CACHED + 1) : upto]
    one = Life(rows[1:], min(WARM, len(rows) - 2))
    standing, kept = {*one.standing}, [(each.rules, each.labels) for each in one.fold.kept]
    outcome = one.close(replace(rows[0], origin=Origin.BACKFILL))
    assert one.fold.first_ms == rows[0].candle.open_ms
    assert (outcome.alerts, outcome.vanished) == ([], [])
    assert [(each.rules, each.labels) for each in one.fold.kept] == kept
    outcome = one.close(as_volume(rows[-1 - back]))
    assert (outcome.alerts, outcome.vanished) == ([], [])
    assert one.standing == standing


@settings(max_examples=15)
@given(SEEDS, st.integers(20, 400), st.integers(201, CACHED - 10))
def test_a_cache_that_is_filled_again_sets_nothing_back_and_hides_no_revision(
    seed: int, size: int, revised: int
) -> None:
    """As clear-cache does it: oldest first, some at a time, while closes are taken."""
    one, other = life(seed).copy(), life(seed).copy()
    kept = [replace(row, origin=Origin.BACKFILL) for row in one.rows()]
    newest = one.fold.newest_ms
    flat = stamped(BARS - CACHED + revised, float(kept[revised].candle.close) * 1.03)
    other.close(replace(flat, rank=Rank.SETTLED))
    kept[revised] = replace(flat, origin=Origin.BACKFILL)
    one.cached.clear()
    for start in range(0, CACHED, size):
        part = kept[start : start + size]
        one.write(part)
        for at, row in enumerate(part):
            entry = f"{one.entry - len(part) + at + 1}-0"
            if not one.fold.includes(entry, row.candle.open_ms):
                outcome = one.look(row)
                assert outcome.newest is None or outcome.newest.candle.open_ms == newest
        assert one.fold.newest_ms == newest
    assert one.fold.owed_from is None
    assert one.standing == other.standing
    assert one.withdrawn == other.withdrawn


def test_what_is_owed_outlives_a_restart_and_a_newer_close() -> None:
    one, other = life(1).copy(), life(1).copy()
    kept, newer = one.rows(), market(1)[BARS]
    one.cached.clear()
    one.close(kept[0])
    assert one.fold.owed_from == kept[0].candle.open_ms
    one = one.copy()
    # The first row folded on is the one that came live; those before it are not there yet.
    one.close(newer)
    assert one.fold.owed_from == kept[0].candle.open_ms
    one.write(kept)
    one.look(kept[-1])
    other.close(newer)
    assert one.fold.owed_from is None
    assert one.standing == other.standing
    assert one.fold.kept[-1].state.n_eff == CACHED
    assert one.fold.newest_ms == newer.candle.open_ms
