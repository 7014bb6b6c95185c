"""How long records may be kept: neither less than what is still needed, nor more than there are dates for."""

from __future__ import annotations

import pytest

from livermore_dagster.errors import BadSetting
from livermore_dagster.market.retention import MOST_DAYS, Records, require_days
from livermore_dagster.market.timeframe import Timeframe


@pytest.mark.parametrize("kept", [Timeframe.M1, Timeframe.D1, Records.COMMANDS])
def test_as_long_as_a_hundred_years(kept: Timeframe | Records) -> None:
    assert require_days(kept, MOST_DAYS) == MOST_DAYS
    with pytest.raises(BadSetting, match="3000000000 days of ") as refused:
        require_days(kept, 3_000_000_000)
    assert f"livermore retention set {kept.value} forever" in refused.value.advice


def test_not_so_short_that_indicators_lack_bars() -> None:
    assert require_days(Timeframe.D1, 1_000) == 1_000
    with pytest.raises(BadSetting, match="999 days of 1d candles are too few"):
        require_days(Timeframe.D1, 999)
