"""What every fault must leave behind: the exchange's own candles, its marks, and words."""

from __future__ import annotations

from livermore_dagster.incidents import CATALOGUE
from livermore_dagster.market.timeframe import Timeframe
from tests.integration.faults.scenarios import Scenario
from tests.integration.faults.stage import Stage
from tests.integration.ingest.played import until

__all__ = ["check"]


def check(stage: Stage, scenario: Scenario, seconds: float = 20.0) -> None:
    """Lets the scenario's faults loose; each of its consequences has `seconds` to come."""
    platform, exchange = stage.platform, stage.exchange
    before, told_before, refused_before = platform.counters(exchange), stage.newest_incident(), stage.given()
    begun = platform.market_now(exchange)
    ids = stage.order(*scenario.orders(stage))
    until(lambda: not stage.pending(ids), seconds, lambda: f"does not strike and end: {stage.pending(ids)}")

    def lacking() -> list[str]:
        counters = platform.counters(exchange)
        told = {one.name for one in stage.incidents(told_before)}
        return [
            *(
                names
                for names in scenario.counters
                if all(counters.get(name, 0) <= before.get(name, 0) for name in names.split("|"))
            ),
            *(name.value for name in scenario.incidents if name.value not in told),
        ]

    def shown() -> str:
        return f"no {lacking()}; told: {[(one.name, one.text) for one in stage.incidents(told_before)]}"

    until(lambda: not lacking(), seconds, shown)
    longest = max(timeframe.ms for timeframe in stage.timeframes() if timeframe.ms <= Timeframe.M5.ms)
    ended = platform.market_now(exchange)
    target = ended - ended % longest + longest
    stage.flows(target, seconds)
    start = begun - begun % longest - 2 * longest

    def wrong() -> list[str]:
        return stage.wrong(start, target, observed_only=scenario.observed_only)

    until(lambda: not wrong(), seconds, lambda: f"not the truth: {wrong()[:6]}")
    assert stage.given() - refused_before == scenario.refusals
    texts = [str(event["text"]) for event in list(stage.log) if "text" in event]
    for incident in stage.incidents(told_before):
        assert incident.name in {name.value for name in CATALOGUE}
        assert any(incident.text in text or text in incident.text for text in texts), incident
