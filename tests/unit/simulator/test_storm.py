"""Storms are pure functions of their seed, hold every kind, end calm, and can be ordered as they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livermore_dagster.simulator.fault_kinds import ACTS, FaultKind
from livermore_dagster.simulator.faults import BadFault, FaultBoard
from livermore_dagster.simulator.storm import checked_storm, kinds_of, schedule, storm_plan
from livermore_dagster.simulator.universe import EXCHANGES, universe

SYMBOLS = ["BTCUSDT", "ETHUSDT", "POWRUSDT"]
ACCOUNT_KINDS = {"fail_page", "repeat_cursor", "repeat_page", "change_order", "revoke_key"}


def ends(order: dict[str, Any]) -> float:
    return float(order["after_s"]) + float(order.get("duration_s", 0.0))


@pytest.mark.parametrize("exchange", EXCHANGES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**40), duration_s=st.floats(60, 900), intensity=st.floats(0.1, 4))
def test_every_kind_strikes_and_the_last_quarter_is_calm(
    exchange: str, seed: int, duration_s: float, intensity: float
) -> None:
    plan = schedule(seed, exchange, SYMBOLS, duration_s, intensity)
    assert plan == schedule(seed, exchange, SYMBOLS, duration_s, intensity)
    assert {order["kind"] for order in plan} == {kind.value for kind in kinds_of(exchange)}
    assert max(ends(order) for order in plan) <= duration_s * 0.75 + 0.2
    assert [order["after_s"] for order in plan] == sorted(order["after_s"] for order in plan)
    # A board takes every order as it stands.
    board = FaultBoard(exchange, lambda: 0)
    for order in plan:
        board.order(order, dict.fromkeys(SYMBOLS))


@pytest.mark.parametrize("exchange", EXCHANGES)
@given(seed=st.integers(0, 2**40))
@settings(max_examples=10, deadline=None)
def test_nothing_can_swallow_the_correction_of_a_revised_frame(exchange: str, seed: int) -> None:
    plan = schedule(seed, exchange, SYMBOLS, 120)
    (revised,) = [order for order in plan if order["kind"] == "revise_stream"]
    others = [order for order in plan if order["kind"] != "revise_stream"]
    assert revised["settle_ms"] > 0
    assert max(ends(order) for order in others) <= revised["after_s"] + 0.2


def test_storms_of_other_seeds_and_exchanges_differ() -> None:
    plans = [schedule(seed, exchange, SYMBOLS, 300) for seed in (1, 2) for exchange in EXCHANGES]
    assert len({str(plan) for plan in plans}) == len(plans)
    assert schedule(1, "binance", SYMBOLS, 300, 10.0) != plans[0]


def test_a_storm_of_known_seed_stays_as_it_is() -> None:
    """A changed draw would make recorded seeds tell of other storms."""
    plan = storm_plan(checked_storm({"seed": 3, "duration_s": 120}), "coinbase", universe("coinbase", 7, 0))
    assert plan == storm_plan(
        checked_storm({"seed": 3, "duration_s": 120}), "coinbase", universe("coinbase", 7, 60_000)
    )
    assert [(order["after_s"], order["kind"]) for order in plan][:4] == [
        (0.6, "stall"),
        (2.4, "lose"),
        (6.6, "garble"),
        (7.3, "refuse_connection"),
    ]


def test_all_kinds_are_in_storms_but_those_that_cannot_be() -> None:
    left_out = {kind.value for kind in FaultKind} - {kind.value for kind in kinds_of("coinbase")}
    assert left_out == {"swap_fillers", *ACCOUNT_KINDS}
    assert set(kinds_of("coinbase")) - set(kinds_of("binance")) == {FaultKind.SEQUENCE_GAP}
    assert set(kinds_of("binance")) > ACTS


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({}, "seed must be a whole number from 0 on, not None"),
        ({"seed": -1}, "not -1"),
        ({"seed": True}, "not True"),
        ({"seed": 1, "duration_s": 10}, "duration_s must be a number between 60 and 86400, not 10"),
        ({"seed": 1, "intensity": "much"}, "intensity must be a number between 0.1 and 10, not 'much'"),
        ({"seed": 1, "wind": 3}, "a storm takes seed, duration_s, intensity, symbols"),
        ({"seed": 1, "symbols": ["NOPE"]}, "symbols must be a list of the exchange's symbols, not"),
    ],
)
def test_bad_storms_say_why(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(BadFault, match=words):
        checked_storm(wanted)


def test_a_storm_needs_somebody_to_strike() -> None:
    with pytest.raises(BadFault, match="needs symbols"):
        schedule(1, "binance", [], 60)
