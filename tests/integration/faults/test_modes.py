"""Every failure mode, on every exchange: the final candles are the exchange's, and the fault is told."""

from __future__ import annotations

import pytest

from livermore_dagster.incidents import CATALOGUE
from livermore_dagster.market.timeframe import Timeframe
from tests.integration.faults.scenarios import SCENARIOS, Scenario
from tests.integration.faults.stage import Stage
from tests.integration.ingest.played import until


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_it_leaves_the_truth_and_its_mark(stage: Stage, scenario: Scenario) -> None:
    if scenario.only and stage.exchange not in scenario.only:
        return  # the exchange has no such thing
    platform, exchange = stage.platform, stage.exchange
    before, told_before, refused_before = platform.counters(exchange), stage.newest_incident(), stage.given()
    begun = platform.market_now(exchange)
    ids = stage.order(*scenario.orders(stage))
    until(lambda: not stage.pending(ids), 30, lambda: f"does not strike and end: {stage.pending(ids)}")

    def lacking() -> list[str]:
        counters = platform.counters(exchange)
        told = {one.name for one in stage.incidents(told_before)}
        return [
            *(name for name in scenario.counters if counters.get(name, 0) <= before.get(name, 0)),
            *(name.value for name in scenario.incidents if name.value not in told),
        ]

    def shown() -> str:
        return f"no {lacking()}; told: {[(one.name, one.text) for one in stage.incidents(told_before)]}"

    until(lambda: not lacking(), 20, shown)
    longest = max(timeframe.ms for timeframe in stage.timeframes() if timeframe.ms <= Timeframe.M5.ms)
    ended = platform.market_now(exchange)
    target = ended - ended % longest + longest
    stage.flows(target, 30)
    start = begun - begun % longest - 2 * longest

    def wrong() -> list[str]:
        return stage.wrong(start, target, observed_only=scenario.observed_only)

    until(lambda: not wrong(), 10, lambda: f"not the truth: {wrong()[:6]}")
    assert stage.given() - refused_before == scenario.refusals
    texts = {str(event.get("text", "")) for event in stage.log}
    for incident in stage.incidents(told_before):
        assert incident.name in {name.value for name in CATALOGUE}
        assert any(incident.text in text or text in incident.text for text in texts if text), incident
