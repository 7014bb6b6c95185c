"""docs/faults.md says what is tested, and all that should be is."""

from __future__ import annotations

import pytest

from tests.integration.faults.scenarios import EXCHANGES, acts_of
from tests.integration.faults.table import DOCUMENT, document, modes_of
from tests.integration.faults.test_defences import CONTROLS


def test_the_document_is_that_of_the_scenarios() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "python -m tests.integration.faults.table"


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_each_of_the_twelve_failure_modes_befalls_each_exchange(exchange: str) -> None:
    assert modes_of(exchange) == set(range(1, 13))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_each_defence_is_taken_out_where_its_fault_strikes(exchange: str) -> None:
    controlled = {one.scenario for one in CONTROLS if exchange in one.exchanges}
    assert {one.name for act in acts_of(exchange) for one in act} == controlled
