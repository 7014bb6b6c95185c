"""Whatever the transport, the final candles equal the exchange's (DESIGN §3, Closing)."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings

from livermore_dagster.market.candle import Origin, Rank
from tests.unit.market.closing_model import START, STEP, TF, Exchange, Scenario, play, scenarios

quick = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(scenarios())
def test_final_candles_equal_the_exchanges(scenario: Scenario) -> None:
    run = play(scenario)
    for symbol in scenario.trades:
        last = START + scenario.buckets * STEP
        found = {o: c for o, c in run.cache.finals(symbol).items() if o < last}
        assert found == Exchange(scenario).truth(symbol)


@quick
@given(scenarios())
def test_a_candle_closes_once_and_again_only_with_other_values(scenario: Scenario) -> None:
    run = play(scenario)
    for count in Counter((c.symbol, c.candle) for c in run.cache.closes).values():
        assert count == 1


@quick
@given(scenarios(reorder=False))
def test_no_close_before_its_proof(scenario: Scenario) -> None:
    """While a connection keeps the order, the first close is right: none is made on less than all."""
    run = play(scenario)
    exchange = Exchange(scenario)
    for at, effects in run.effects:
        for write in effects.writes:
            if write.rank > Rank.OPEN:
                assert at >= write.end_ms
                number = (write.candle.open_ms - START) // STEP
                assert write.candle == exchange.candle(write.symbol, number, 1 << 60)
                if write.origin is Origin.LIVE:
                    assert write.proven_ms >= write.end_ms
    assert run.closer.stats.revisions == 0


@quick
@given(scenarios())
def test_everything_is_settled_in_the_end_and_little_is_asked(scenario: Scenario) -> None:
    run = play(scenario)
    assert run.closer.settled_until() >= START + (scenario.buckets + 1) * STEP
    for symbol in scenario.trades:
        asked = Counter(
            slot
            for question in run.questions
            if question.symbol == symbol
            for slot in range(question.from_ms, question.to_ms, TF.ms)
        )
        # Once for itself, and once more where the silence after it throws doubt on its close by the clock.
        assert all(count <= 2 for count in asked.values())
    if not scenario.outages and not scenario.swaps and scenario.flagged and scenario.fills:
        beyond = START + scenario.buckets * STEP
        assert [q for q in run.questions if q.to_ms <= beyond] == []
