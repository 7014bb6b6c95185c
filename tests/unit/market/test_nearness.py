"""Which level a value can cross next, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.market.alert_rules import LEVELS, RuleState, judge
from livermore_dagster.market.nearness import nearness_of, next_levels


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (0.0, [(150, 150.0), (-150, 150.0)]),
        (149.0, [(150, 1.0), (-150, 299.0)]),
        (150.0, [(150, 0.0), (-150, 300.0)]),
        (150.5, [(200, 49.5), (-150, 300.5)]),
        (-170.0, [(-200, 30.0), (150, 320.0)]),
        (450.0, [(-150, 600.0)]),
    ],
)
def test_the_next_levels_lie_outwards(value: float, found: list[tuple[int, float]]) -> None:
    assert [(one.level, one.distance) for one in next_levels(value)] == found


@given(st.floats(-500, 500), st.floats(0.001, 600))
def test_the_rules_agree(value: float, step: float) -> None:
    """Going past the nearest level on a side alerts there; stopping short of it does not."""
    for one in next_levels(value):
        sign = 1 if one.direction == "up" else -1
        short = value + sign * one.distance * 0.999
        assert not judge(RuleState(), value, short, None, 0)[1] or abs(short) > 150
        beyond = value + sign * (one.distance + step)
        raised = judge(RuleState(), value, beyond, None, 0)[1]
        assert [alert.kind for alert in raised] == ["level"]
        assert int(raised[0].label.removeprefix("level_")) in {sign * level for level in LEVELS}


def test_speed_is_towards_the_level() -> None:
    rising, falling = nearness_of(140.0, 130.0), nearness_of(140.0, 150.0, 2)
    assert (rising.speed, rising.bars) == (10.0, 1.0)
    assert (falling.speed, falling.bars) == (-5.0, None)
    below = nearness_of(-145.0, -135.0)
    assert (below.level, below.direction, below.speed, below.bars) == (-150, "down", 10.0, 0.5)
    assert nearness_of(10.0, None).speed is None
