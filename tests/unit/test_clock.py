"""The wall clock behind its port."""

from __future__ import annotations

import pytest

from livermore_dagster.clock import SystemClock, seconds_until


class Standing(SystemClock):
    def now_ms(self) -> int:
        return 10_000


@pytest.mark.parametrize(("at_ms", "seconds"), [(12_500, 2.5), (10_000, 0.0), (0, 0.0)])
def test_what_has_passed_is_waited_for_no_longer(at_ms: int, seconds: float) -> None:
    assert seconds_until(Standing(), at_ms) == seconds
