"""Every failure mode, on every exchange: the final candles are the exchange's, and the fault is told."""

from __future__ import annotations

import pytest

from tests.integration.faults.conftest import Runs
from tests.integration.faults.scenarios import EXCHANGES, Scenario, acts_of

CASES = [
    pytest.param(
        exchange,
        scenario,
        marks=pytest.mark.xdist_group(f"faults-{exchange}"),
        id=f"{exchange}-{scenario.name}",
    )
    for exchange in EXCHANGES
    for act in acts_of(exchange)
    for scenario in act
]


# The first of an exchange waits for the run of all.
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("exchange", "scenario"), CASES)
def test_it_leaves_the_truth_and_its_mark(runs: Runs, exchange: str, scenario: Scenario) -> None:
    assert runs.of(exchange).of(scenario) == []
