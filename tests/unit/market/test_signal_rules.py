"""Stages, alert rules, bias and portfolio against the written rules."""

from __future__ import annotations

import doctest
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livermore_dagster.market import stages
from livermore_dagster.market.alert_rules import COOLDOWN_MS, RuleState, changes, judge, late
from livermore_dagster.market.bias import Bias, bias_of
from livermore_dagster.market.portfolio import portfolio_signal
from livermore_dagster.market.stages import Stage, stage_of
from livermore_dagster.market.timeframe import Timeframe

edges = st.sampled_from([-400.0, -150.0, -50.0, 0.0, 50.0, 150.0, 400.0])
value = st.one_of(edges, st.floats(-500, 500))


def _holding(v: float, s: float) -> list[Stage]:
    """Every clause of S3 on its own; a partition has exactly one that holds."""
    clauses = {
        Stage.OVERSOLD: v < -150,
        Stage.OVERBOUGHT: v > 150 and v >= s,
        Stage.RALLYING: 50 <= v <= 150 and v >= s,
        Stage.REBOUNDING: (-50 <= v < 50 and v > s) or (-150 <= v < -50 and v >= s),
        Stage.RANGING: -50 <= v < 50 and v == s,
        Stage.RETRACING: (v > 150 and v < s) or (50 <= v <= 150 and v < s) or (-50 <= v < 50 and v < s),
        Stage.REVERSING: -150 <= v < -50 and v < s,
    }
    return [stage for stage, holds in clauses.items() if holds]


@settings(max_examples=400)
@given(value, st.one_of(value, st.none()), st.booleans())
def test_stages_are_complete_and_disjoint(v: float, s: float | None, same: bool) -> None:
    if s is None:
        assert stage_of(v, None) is (Stage.OVERSOLD if v < -150 else Stage.UNKNOWN)
        return
    s = v if same else s
    assert _holding(v, s) == [stage_of(v, s)]


def test_no_value_is_unknown() -> None:
    assert stage_of(None, 3.0) is Stage.UNKNOWN
    assert stage_of(float("nan"), 3.0) is Stage.UNKNOWN
    assert doctest.testmod(stages).failed == 0


def naive(values: list[tuple[int, float, float]]) -> list[tuple[int, str]]:
    """S4, S5 and S6, restated over whole lists."""
    fired: list[tuple[int, str]] = []
    armed = True
    for (_, before, _), (end, now, histogram) in pairwise(values):
        labels = []
        down = [x for x in range(150, 401, 50) if before >= -x and now < -x]
        up = [x for x in range(150, 401, 50) if before <= x and now > x]
        if down or up:
            armed = True
            labels.append(f"level_-{down[-1]}" if down else f"level_{up[-1]}")
        if armed and before < -150 and now < -150 and histogram > 0.05 * -now:
            labels.append("reversal_oversold")
        if armed and before > 150 and now > 150 and histogram < -0.03 * now:
            labels.append("reversal_overbought")
        for label in labels:
            if all(other != label or end - at >= 300_000 for at, other in fired):
                fired.append((end, label))
                armed = armed and not label.startswith("reversal")
    return fired


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(1, 6), value, st.floats(-60, 60)), max_size=60))
def test_rules_equal_their_naive_restatement(moves: list[tuple[int, float, float]]) -> None:
    end, values = 0, []
    for minutes, v, histogram in moves:
        end += minutes * 60_000
        values.append((end, v, histogram))
    rules, found, previous, last = RuleState(), [], None, None
    for end, v, histogram in values:
        rules, raised = judge(rules, previous, v, histogram, end)
        rules = RuleState.from_json(rules.to_json())
        for one in raised:
            assert one.previous_label == last
            last = one.label
            found.append((end, one.label))
        previous = v
    assert found == naive(values)


def test_only_the_deepest_level_alerts_and_touching_is_not_crossing() -> None:
    assert [one.label for one in judge(RuleState(), -140, -260, -80, 0)[1]] == ["level_-250"]
    assert [one.label for one in judge(RuleState(), 140, 401, 80, 0)[1]] == ["level_400"]
    assert judge(RuleState(), -140, -150, -5, 0)[1] == []
    assert [one.label for one in judge(RuleState(), -150, -151, -5, 0)[1]] == ["level_-150"]
    assert judge(RuleState(), -260, -140, 30, 0)[1] == []
    assert judge(RuleState(), None, -300, -5, 0)[1] == []


def test_cooldown_is_in_event_time_and_a_suppressed_crossing_re_arms() -> None:
    rules, raised = judge(RuleState(armed=False), -140, -160, -1, 1_000_000)
    assert [one.label for one in raised] == ["level_-150"]
    rules = rules._replace(armed=False)
    rules, raised = judge(rules, -140, -160, -1, 1_000_000 + COOLDOWN_MS - 1)
    assert raised == []
    assert rules.armed
    rules, raised = judge(rules, -140, -160, -1, 1_000_000 + COOLDOWN_MS)
    assert [one.label for one in raised] == ["level_-150"]


def test_a_revision_adds_and_takes_back() -> None:
    assert changes(["level_-150", "x"], ["level_-200", "x"]) == (["level_-200"], ["level_-150"])


def test_late_is_history_or_a_whole_bar_behind() -> None:
    assert late(1_000, 1_500, 60_000, history=True)
    assert late(1_000, 61_000, 60_000, history=False)
    assert not late(1_000, 60_999, 60_000, history=False)
    assert not late(1_000, 0, 60_000, history=False)


def test_bias_weighs_timeframes_and_needs_dominance() -> None:
    assert bias_of({}) is Bias.NEUTRAL
    assert bias_of({Timeframe.M1: Stage.RALLYING}) is Bias.BULLISH
    assert bias_of({Timeframe.D1: Stage.REVERSING, Timeframe.H1: Stage.OVERSOLD}) is Bias.NEUTRAL
    assert bias_of({Timeframe.D1: Stage.OVERBOUGHT, Timeframe.M15: Stage.REBOUNDING}) is Bias.BEARISH
    assert bias_of({Timeframe.D1: Stage.RANGING, Timeframe.M1: Stage.RETRACING}) is Bias.BEARISH


@pytest.mark.parametrize(
    ("hour", "four", "day", "label"),
    [
        (51, 51, 1, "STRONG BUY"),
        (-51, -51, -1, "STRONG SELL"),
        (50, 60, 1, "Bullish"),
        (-50, -60, -1, "Bearish"),
        (51, -1, 5, "Reversal Up?"),
        (-51, 1, 5, "Reversal Down?"),
        (10, -1, 5, "Mixed"),
        (0, 0, 0, "Mixed"),
    ],
)
def test_portfolio_signal(hour: float, four: float, day: float, label: str) -> None:
    values = {Timeframe.H1: hour, Timeframe.H4: four, Timeframe.D1: day}
    assert portfolio_signal(values).label == label


def test_portfolio_without_data_says_why() -> None:
    found = portfolio_signal({Timeframe.H1: 1.0, Timeframe.D1: 2.0}, {Timeframe.H4: "unsupported"})
    assert (found.label, found.reason) == ("No Data", "4h: unsupported")
    assert portfolio_signal({}).reason == "1h, 4h, 1d: no value yet"
