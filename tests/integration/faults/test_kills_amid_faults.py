"""kill -9 of each thing that can die, amid every act of faults: candles and alerts are the exchange's."""

from __future__ import annotations

import pytest

from tests.integration.faults.killing import VICTIMS, play
from tests.integration.faults.scenarios import EXCHANGES, acts_of

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_is_lost_whatever_dies_amid_whatever_fault(exchange: str, victim: str) -> None:
    left = play(exchange, victim)
    print(f"{exchange} {victim}: {left}")  # noqa: T201
    assert left.troubles == []
    assert len(left.back_s) == len(acts_of(exchange))
    assert len(left.killed_amid) > len(left.back_s) / 2
    assert left.alerts, "a run without alerts shows nothing"
