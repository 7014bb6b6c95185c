"""The standard indicators beside MACD-V, and what a shifted window may change of them."""

from __future__ import annotations

from assets.indicators import continued_obv, standard_columns
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.series_macdv import macdv_points
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.indicators import stored_indicator


def candles(count: int) -> list[StampedCandle]:
    made = []
    for i in range(count):
        price = 100 + (i * 7) % 11
        candle = Candle(i * 3_600_000, str(price), str(price + 3), str(price - 3), str(price + 1), "5")
        made.append(StampedCandle("X", Timeframe.H1, candle, Rank.SETTLED, 0, Origin.BACKFILL))
    return made


def test_few_rows_give_no_value_and_no_error() -> None:
    for count in (1, 2, 15, 28):
        columns = standard_columns(candles(count))
        assert all(len(values) == count for values in columns.values())
        assert columns["adx_14"] == [None] * count


def test_values_appear_when_their_windows_are_full() -> None:
    columns = standard_columns(candles(80))
    first = {name: next(i for i, v in enumerate(values) if v is not None) for name, values in columns.items()}
    assert first["sma_20"] == 19
    assert first["sma_50"] == 49
    assert first["bollinger_middle"] == 19
    assert first["ema_9"] == 8
    assert first["adx_14"] >= 26
    assert all(0 <= v <= 100 for v in columns["rsi_14"] if v is not None)


def test_obv_goes_on_from_what_is_stored() -> None:
    held = {20: {"obv": 100.0}}
    assert continued_obv([10, 20, 30], [1.0, 2.0, 5.0], held) == [99.0, 100.0, 103.0]
    assert continued_obv([10], [1.0], {}) == [1.0]


def test_macdv_is_withheld_until_sixty_observed_bars() -> None:
    rows = [stored_indicator(point, "batch") for point in macdv_points(candles(70), Timeframe.H1)]
    assert [row.macdv is None for row in rows] == [True] * 59 + [False] * 11
    assert rows[58].reason == "Warming up: 59 of 60 observed candles"
    assert {row.stage for row in rows[:59]} == {"unknown"}
