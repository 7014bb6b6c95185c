"""MACD-V: fold equals batch, filler rows mean nothing, and other libraries agree."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from talipp.indicators import ATR, EMA
from talipp.ohlcv import OHLCV

from livermore_dagster.market.macdv import LOW_ACTIVITY, NO_MOVEMENT, MacdvPoint, State, batch, fold
from livermore_dagster.market.timeframe import Timeframe
from tests.recorded import recorded

TF = Timeframe.M5
Row = tuple[int, float, float, float, float]


@st.composite
def series(draw: st.DrawFn) -> list[Row]:
    """Rows with gaps, fillers and opens off the grid."""
    rows: list[Row] = []
    bar, price = 5_000_000, 100.0
    count = draw(st.integers(1, 120))
    moves = draw(st.lists(st.floats(-0.02, 0.02), min_size=count, max_size=count))
    kinds = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    for move, kind in zip(moves, kinds, strict=True):
        bar += 1 if kind < 8 else kind * 3
        price *= 1 + move
        open_ms = bar * TF.ms + (60_000 if kind == 7 else 0)
        volume = 0.0 if kind in (4, 5, 6) else 1.0
        rows.append((open_ms, price * 1.001, price * 0.999, price, volume))
        if kind in (3, 6):
            rows.append((open_ms + 90_000, price * 1.002, price, price, float(kind == 6)))
    return rows


def steps(rows: list[Row]) -> list[tuple[State, MacdvPoint]]:
    state, found = None, []
    for row in rows:
        state, point = fold(state, TF.ms, *row)
        found.append((state, point))
    return found


@settings(max_examples=150, deadline=None)
@given(series())
def test_batch_and_steps_agree_in_values_and_states(rows: list[Row]) -> None:
    columns = batch(*map(list, zip(*rows, strict=True)), TF)
    for index, (state, point) in enumerate(steps(rows)):
        other = columns.point(index)
        assert (point.observed, point.reason, *point[5:8]) == (other.observed, other.reason, *other[5:8])
        for mine, theirs in zip(point[1:4], other[1:4], strict=True):
            assert (mine is None) == (theirs is None)
            if mine is not None and theirs is not None:
                assert abs(mine - theirs) <= 1e-10 * state.close / state.atr + 1e-9
        assert columns.state(index)[:9] == state[:9]
        assert columns.state(index)[9:] == pytest.approx(state[9:], rel=1e-11, abs=1e-9)
        assert State.from_json(state.to_json()) == state


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3_000),
    st.floats(-0.01, 0.005),
    st.floats(0, 0.05),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_batch_and_steps_agree_without_gaps(
    bars: int, drift: float, spread: float, seed: int, halts: bool
) -> None:
    draw = np.random.default_rng(seed)
    moves = draw.normal(drift, spread, bars)
    moves[bars // 3 : bars // 3 + 900 * halts] = 0.0
    closes = 100 * np.exp(np.cumsum(moves))
    width = np.where(moves == 0.0, 0.0, spread * draw.random(bars))
    columns = (np.arange(bars) * TF.ms + 7, closes * (1 + width), closes * (1 - width), closes, np.ones(bars))
    found = batch(*columns, TF)
    loose = 0.0
    for index, (state, point) in enumerate(steps(list(zip(*(c.tolist() for c in columns), strict=True)))):
        other = found.point(index)
        assert (point.observed, point.reason, *point[5:8]) == (other.observed, other.reason, *other[5:8])
        assert [value is None for value in point[1:4]] == [value is None for value in other[1:4]]
        if point.macdv is not None and other.macdv is not None:
            exact = 1e-10 * state.close / state.atr + 1e-9
            assert abs(point.macdv - other.macdv) <= exact
            # The signal remembers values of a time when the ATR was next to nothing.
            loose = max(exact, 0.8 * loose)
        if point.signal is not None and other.signal is not None:
            assert abs(point.signal - other.signal) <= loose
        if index % 97 in (0, 28):
            mine = found.state(index)
            assert mine[:9] == state[:9]
            assert mine[9:-1] == pytest.approx(state[9:-1], rel=1e-11, abs=1e-9)
            assert abs(mine.signal - state.signal) <= 9 * loose


@settings(max_examples=60, deadline=None)
@given(st.integers(60, 700), st.floats(0, 0.5), st.integers(0, 2**32 - 1), st.booleans())
def test_batch_and_steps_agree_where_bars_are_absent(bars: int, share: float, seed: int, ages: bool) -> None:
    draw = np.random.default_rng(seed)
    hops = np.where(draw.random(bars) < share, draw.integers(2, 9, bars), 1)
    hops[bars // 2] = 2_500 if ages else 1
    closes = 100 * np.exp(np.cumsum(draw.normal(0, 0.01, bars)))
    width = 0.01 * draw.random(bars)
    columns = (np.cumsum(hops) * TF.ms, closes * (1 + width), closes * (1 - width), closes, np.ones(bars))
    found = batch(*columns, TF)
    for index, (state, point) in enumerate(steps(list(zip(*(c.tolist() for c in columns), strict=True)))):
        other = found.point(index)
        assert (point.observed, point.reason, *point[5:8]) == (other.observed, other.reason, *other[5:8])
        assert [value is None for value in point[1:4]] == [value is None for value in other[1:4]]
        for mine, theirs in zip(point[1:3], other[1:3], strict=True):
            if mine is not None and theirs is not None:
                assert abs(mine - theirs) <= 1e-10 * state.close / state.atr + 1e-9
        if index % 97 in (0, 28):
            mine_then = found.state(index)
            assert mine_then[:9] == state[:9]
            assert mine_then[9:] == pytest.approx(state[9:], rel=1e-11, abs=1e-7)


@settings(max_examples=150, deadline=None)
@given(series(), st.randoms(use_true_random=False))
def test_taking_filler_rows_away_changes_no_observed_value(rows: list[Row], draw) -> None:
    first = next((i for i, row in enumerate(rows) if row[4] > 0), len(rows))
    kept = [row for i, row in enumerate(rows) if i <= first or row[4] > 0 or draw.random() < 0.5]
    whole = {p.open_ms: p for _, p in steps(rows) if p.observed}
    less = {p.open_ms: p for _, p in steps(kept) if p.observed}
    assert whole == less


def smooth(bars: int, calm: float = 0.003) -> list[Row]:
    draw = np.random.default_rng(7)
    closes = 100 * np.exp(np.cumsum(draw.normal(0, calm, bars)))
    return [(i * TF.ms, c * 1.002, c * 0.999, c, 1.0) for i, c in enumerate(closes.tolist())]


def test_first_value_at_25_and_first_signal_at_33() -> None:
    points = [point for _, point in steps(smooth(60))]
    assert [p.macdv is None for p in points[24:26]] == [True, False]
    assert [p.signal is None for p in points[32:34]] == [True, False]
    assert points[24].reason == LOW_ACTIVITY
    assert points[58].publishable is False
    assert points[59].publishable is True


def test_a_price_that_stands_still_has_no_value_and_holds_the_signal() -> None:
    rows = [*smooth(60), *[(i * TF.ms, 50.0, 50.0, 50.0, 1.0) for i in range(60, 900)]]
    points = [point for _, point in steps(rows)]
    dead = [p for p in points if p.reason == NO_MOVEMENT]
    assert dead
    assert {p.macdv for p in dead} == {None}
    assert len({p.signal for p in dead}) == 1


def test_an_absurd_gap_costs_nothing_and_decays() -> None:
    rows = [*smooth(60), (TF.ms * 10**9, 101.0, 99.0, 100.0, 1.0)]
    state, point = steps(rows)[-1]
    assert point.span_bars == 10**9 + 1
    assert point.n_eff == 61
    assert state.bar == 10**9


def test_a_candle_of_the_past_is_refused() -> None:
    state, _ = fold(None, TF.ms, TF.ms * 5, 2.0, 1.0, 1.5, 1.0)
    with pytest.raises(ValueError, match="cannot follow"):
        fold(state, TF.ms, TF.ms * 5, 2.0, 1.0, 1.5, 1.0)


def _candles() -> tuple[list[Row], Timeframe]:
    file = recorded("macdv/ADAUSDT_1h.csv")
    if file is None:
        return smooth(500), TF
    with file.open() as source:
        rows = [
            (int(r["open_time_s"]) * 1000, float(r["high"]), float(r["low"]), float(r["close"]), 1.0)
            for r in csv.DictReader(source)
        ]
    return rows, Timeframe.H1


def test_equals_talipp_and_from_300_on_ta_lib() -> None:
    rows, timeframe = _candles()
    columns = batch(*map(list, zip(*rows, strict=True)), timeframe)
    fast, slow, line, atr = EMA(12), EMA(26), EMA(9), ATR(26)
    for index, (_, high, low, close, _volume) in enumerate(rows):
        fast.add(close)
        slow.add(close)
        atr.add(OHLCV(close, high, low, close, 1.0))
        point = columns.point(index)
        if index < 25:
            assert point.macdv is None
            continue
        value = 100 * (fast[-1] - slow[-1]) / atr[-1]
        line.add(value)
        assert point.macdv == pytest.approx(value, rel=1e-6, abs=1e-9)
        assert point.signal == (None if line[-1] is None else pytest.approx(line[-1], rel=1e-6, abs=1e-9))
    _, high, low, close, _ = (np.array(column) for column in zip(*rows, strict=True))
    value = (talib.EMA(close, 12) - talib.EMA(close, 26)) / talib.ATR(high, low, close, 26) * 100
    assert np.max(np.abs(columns.macdv[300:] - value[300:])) < 1e-3


def test_equals_the_recorded_values_of_both_libraries() -> None:
    rows, timeframe = _candles()
    columns = batch(*map(list, zip(*rows, strict=True)), timeframe)
    file = recorded("macdv/ADAUSDT_1h.csv")
    if file is None:
        assert not np.isnan(columns.macdv[25:]).any()
        return
    with file.open() as source:
        for index, row in enumerate(csv.DictReader(source)):
            point = columns.point(index)
            for name, value in (("macdv", point.macdv), ("signal", point.signal), ("hist", point.histogram)):
                text = row[f"talipp_{name}"]
                assert (value is None) == (text == "")
                if value is not None:
                    assert value == pytest.approx(float(text), rel=1e-6, abs=2e-8)
                if index >= 300:
                    assert value == pytest.approx(float(row[f"talib_{name}"]), abs=1e-3)


def test_zero_volume_minutes_count_for_nothing() -> None:
    file = recorded("candles/binance_POWRBTC_1m_1581776404.csv")
    if file is None:
        rows = [(*row[:4], 0.0 if i % 5 in (1, 2) else 1.0) for i, row in enumerate(smooth(500))]
    else:
        with file.open() as source:
            rows = [
                (int(r["open_time_s"]) * 1000, *(float(r[n]) for n in ("high", "low", "close", "volume")))
                for r in csv.DictReader(source)
            ]
    timeframe = TF if file is None else Timeframe.M1
    whole = batch(*map(list, zip(*rows, strict=True)), timeframe)
    traded = [row for row in rows if row[4] > 0]
    less = batch(*map(list, zip(*traded, strict=True)), timeframe)
    assert len(traded) < 0.65 * len(rows)
    np.testing.assert_array_equal(whole.macdv[whole.observed], less.macdv)
    np.testing.assert_array_equal(whole.signal[whole.observed], less.signal)
    np.testing.assert_array_equal(whole.n_eff[whole.observed], less.n_eff)
    assert np.isnan(whole.macdv[whole.n_eff < 26]).all()
