"""The stored text of a candle gives the candle back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle, canonical
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.member import decode, encode

NUMBERS = st.decimals(0, 10**9, places=None, allow_nan=False).map(lambda n: canonical(round(n, 12)))
T0 = 1_767_225_600_000


def stamped(candle: Candle, delay_ms: int = 60_001, trades: int = -1) -> StampedCandle:
    return StampedCandle(
        "BTCUSDT", Timeframe.M1, candle, Rank.FINAL, candle.open_ms + delay_ms, Origin.LIVE, trades, 5
    )


@given(
    open_ms=st.integers(0, 36**8 - 1),
    delay_ms=st.integers(-60_000, 10**11),
    prices=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    volume=NUMBERS,
    trades=st.integers(-1, 10**8),
    rank=st.sampled_from(Rank),
    origin=st.sampled_from(Origin),
)
def test_any_candle_comes_back(
    open_ms: int,
    delay_ms: int,
    prices: tuple[str, str, str, str],
    volume: str,
    trades: int,
    rank: Rank,
    origin: Origin,
) -> None:
    candle = Candle(open_ms, *prices, volume)
    given = StampedCandle("A,B", Timeframe.H1, candle, rank, open_ms + delay_ms, origin, trades, 9)
    assert decode(encode(given), "A,B", Timeframe.H1, 9) == given


@given(low=NUMBERS, rises=st.tuples(NUMBERS, NUMBERS, NUMBERS))
def test_sane_candles_take_the_short_form(low: str, rises: tuple[str, str, str]) -> None:
    opened = canonical(Decimal(low) + Decimal(rises[0]))
    high = canonical(Decimal(opened) + Decimal(rises[1]))
    close = canonical(Decimal(low) + Decimal(rises[2]))
    candle = Candle(T0, opened, high, low, close, "1")
    text = encode(stamped(candle))
    assert "~" not in text
    assert decode(text, "BTCUSDT", Timeframe.M1, 5).candle == candle


def test_a_common_candle_is_short() -> None:
    candle = Candle(T0, "67123.45", "67190.01", "67100.12", "67155.98", "12.48213")
    assert len(encode(stamped(candle, trades=1_234))) <= 46


def test_a_stamp_long_before_its_candle_counts_as_a_minute_before() -> None:
    candle = Candle(T0, "1", "1", "1", "1", "0")
    assert decode(encode(stamped(candle, -90_000)), "BTCUSDT", Timeframe.M1).stamp_ms == T0 - 60_000


@pytest.mark.parametrize(
    "candle",
    [
        Candle(36**8, "1", "1", "1", "1", "1"),
        Candle(-1, "1", "1", "1", "1", "1"),
        Candle(T0, "1", "1", "1", "1", "-1"),
        Candle(T0, "1", "1", "NaN", "1", "1"),
        Candle(T0, "", "1", "1", "1", "1"),
    ],
)
def test_what_is_no_candle_is_refused(candle: Candle) -> None:
    with pytest.raises(ValueError):
        encode(stamped(candle))
