"""A market that traded all the time and stops is noticed once; a sparse one never."""

from __future__ import annotations

import pytest

from livermore_dagster.market.candle import Candle
from livermore_dagster.market.silence import fell_silent

STEP = 60_000
M15 = 15 * STEP


def bars(*volumes: str) -> list[Candle]:
    """A bar a minute from 0 on; '' where there is none."""
    return [
        Candle(place * STEP, "1", "1", "1", "1", volume) for place, volume in enumerate(volumes) if volume
    ]


STEADY = ["1"] * 40


def noticed(candles: list[Candle]) -> list[int]:
    """Boundaries at which it was noticed, of the first two hours."""
    return [
        to_ms
        for to_ms in range(M15, 8 * M15 + 1, M15)
        if fell_silent([one for one in candles if one.open_ms + STEP <= to_ms], to_ms - M15, to_ms, STEP)
    ]


@pytest.mark.parametrize("after", [[], ["0"] * 60])
def test_silence_by_missing_bars_or_by_fillers_is_noticed_once(after: list[str]) -> None:
    # It last traded in the bar that ended at 40; the third bar without a trade ended at 43.
    assert noticed(bars(*STEADY, *after)) == [3 * M15]


def test_two_silent_bars_are_nothing_yet() -> None:
    assert noticed(bars(*STEADY, *["1"] * 3, "", "")) == [4 * M15]


def test_who_trades_now_and_then_is_silent_all_the_time() -> None:
    assert noticed(bars(*(["1", "", "1"] * 20))) == []


def test_two_quiet_bars_in_thirty_two_are_still_steady() -> None:
    volumes = ["1"] * 40
    volumes[20] = volumes[30] = "0"
    assert noticed(bars(*volumes)) == [3 * M15]
    volumes[25] = "0"
    assert noticed(bars(*volumes)) == []


def test_nothing_traded_is_nothing_noticed() -> None:
    assert noticed([]) == noticed(bars(*["0"] * 60)) == []
