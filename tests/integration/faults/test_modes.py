"""Every failure mode, on every exchange: the final candles are the exchange's, and the fault is told."""

from __future__ import annotations

import pytest

from tests.integration.faults.checking import check
from tests.integration.faults.conftest import EXCHANGES, Stages
from tests.integration.faults.scenarios import SCENARIOS, Scenario

CASES = [
    pytest.param(name, scenario, marks=mark, id=f"{name}-{scenario.name}")
    for name, mark in EXCHANGES.items()
    for scenario in SCENARIOS
    if not scenario.only or name in scenario.only
]


@pytest.mark.parametrize(("exchange", "scenario"), CASES)
def test_it_leaves_the_truth_and_its_mark(stages: Stages, exchange: str, scenario: Scenario) -> None:
    check(stages.at(exchange), scenario, 45.0)
