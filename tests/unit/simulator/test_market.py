"""The simulated market is a pure function of seed and time, and its candles are those of its trades."""

from __future__ import annotations

import hashlib
import itertools
import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livermore_dagster.simulator.bars import Bar
from livermore_dagster.simulator.clock import ManualClock
from livermore_dagster.simulator.market import MINUTE_MS, SymbolMarket, SymbolPlan
from livermore_dagster.simulator.venue import INTERVALS, Venue

DAY_MS = 86_400_000
START = 1_767_571_200_000  # 2026-01-05T00:00Z
LIQUID = SymbolPlan("binance", "BTCUSDT", "BTC", 95_000.0, 2, 5, 1e5, listed_ms=START - 400 * DAY_MS)
SPARSE = replace(LIQUID, symbol="POWRUSDT", base="POWR", price=0.25, price_decimals=5, activity=0.05)
SILENT = replace(SPARSE, silent=(START + 3_600_000, START + 4 * 3_600_000))
LISTED = replace(SPARSE, listed_ms=START + 5 * 3_600_000)
PLANS = {"liquid": LIQUID, "sparse": SPARSE, "silent": SILENT, "listed": LISTED}


@cache
def trades_of(plan: SymbolPlan, day: int) -> list[tuple[int, int, int, int]]:
    """(time, price, lots, trades) of every print of a day counted from START, 20 minutes at a time."""
    market = SymbolMarket(3, plan)
    found = []
    begin = (START + day * DAY_MS) // MINUTE_MS
    for minute in range(begin, begin + 1440, 20):
        prints = market.prints(minute, 20)
        for row, slot in itertools.product(range(20), range(4)):
            if prints.has[row, slot]:
                values = (
                    int(part[row, slot]) for part in (prints.at, prints.price, prints.lots, prints.trades)
                )
                at, price, lots, count = values
                found.append(((minute + row) * MINUTE_MS + at, price, lots, count))
    return found


def bar_of(open_ms: int, trades: list[tuple[int, int, int, int]]) -> Bar:
    prices = [price for _, price, _, _ in trades]
    return Bar(
        open_ms,
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum(lots for _, _, lots, _ in trades),
        sum(price * lots for _, price, lots, _ in trades),
        sum(count for *_, count in trades),
    )


@pytest.mark.parametrize("kind", PLANS)
def test_candles_of_every_length_are_those_of_the_trades(kind: str) -> None:
    plan = PLANS[kind]
    market = SymbolMarket(3, plan)
    trades = trades_of(plan, 0)
    assert trades == sorted(trades)
    for minutes in INTERVALS.values():
        step = minutes * MINUTE_MS
        bars = market.bars(minutes, START, DAY_MS // step)
        by_bar: dict[int, list[tuple[int, int, int, int]]] = {}
        for trade in trades:
            by_bar.setdefault((trade[0] - START) // step, []).append(trade)
        for index in range(DAY_MS // step):
            inside = by_bar.get(index, [])
            assert bool(bars.has[index]) is bool(inside)
            if inside:
                columns = (bars.open, bars.high, bars.low, bars.close, bars.lots, bars.quote, bars.trades)
                bar = Bar(START + index * step, *(int(column[index]) for column in columns))
                assert bar == bar_of(START + index * step, inside)


@given(st.integers(0, DAY_MS - 1), st.sampled_from([1, 5, 15, 60, 240, 1440]), st.sampled_from(sorted(PLANS)))
@settings(max_examples=30, deadline=None)
def test_an_open_candle_holds_exactly_the_trades_so_far(offset: int, minutes: int, kind: str) -> None:
    plan, now = PLANS[kind], START + offset
    open_ms = now - now % (minutes * MINUTE_MS)
    so_far = [trade for trade in trades_of(plan, 0) if open_ms <= trade[0] <= now]
    bar = SymbolMarket(3, plan).bar_at(minutes, now)
    assert bar == (bar_of(open_ms, so_far) if so_far else None)


@pytest.mark.parametrize("kind", PLANS)
def test_the_order_of_asking_changes_nothing(kind: str) -> None:
    plan = PLANS[kind]
    forward, backward = SymbolMarket(3, plan), SymbolMarket(3, plan)
    days = [START + day * DAY_MS for day in range(-40, 3, 7)]
    asked = [(minutes, day) for day in days for minutes in (1, 5, 60, 1440)]
    seen = {one: forward.bars(one[0], one[1], 1440 // one[0]) for one in asked}
    for one in reversed(asked):
        again = backward.bars(one[0], one[1], 1440 // one[0])
        for name in ("has", "open", "high", "low", "close", "lots", "quote", "trades"):
            assert (getattr(again, name) == getattr(seen[one], name)).all()


def test_another_seed_is_another_market() -> None:
    one, other = (SymbolMarket(seed, LIQUID).bars(5, START, 100) for seed in (1, 2))
    assert (one.close != other.close).mean() > 0.9


def test_the_last_price_before_a_time_is_that_of_the_last_trade() -> None:
    for plan in PLANS.values():
        market = SymbolMarket(3, plan)
        trades = trades_of(plan, -1) + trades_of(plan, 0)
        for hours in (0, 2, 3.99, 4.01, 6, 23):
            at = START + int(hours * 3_600_000)
            before = [price for when, price, _, _ in trades if when < at]
            assert market.last_price(at) == (before[-1] if before else None)


def test_a_sparse_native_candle_opens_with_its_first_trade_not_with_the_last_close() -> None:
    clock = ManualClock(START)
    venue = Venue("binance", 3, clock, fills=True, symbols=20)
    minutes = {row.open_ms: row for row in venue.rows("POWRUSDT", 1, START - DAY_MS, START, START)}
    fives = venue.rows("POWRUSDT", 5, START - DAY_MS, START, START)
    assert len(minutes) == 1440
    assert len(fives) == 288
    differing = [five for five in fives if minutes[five.open_ms].open != five.open]
    assert differing
    assert all(minutes[five.open_ms].trades == 0 for five in differing)


@pytest.mark.parametrize("minutes", [1, 5, 60])
def test_empty_bars_are_filled_or_left_out_as_the_exchange_does(minutes: int) -> None:
    clock = ManualClock(START)
    filling = Venue("binance", 3, clock, fills=True, symbols=20)
    omitting = Venue("binance", 3, clock, fills=False, symbols=20)
    full = filling.rows("POWRUSDT", minutes, START - DAY_MS, START, START)
    sparse = omitting.rows("POWRUSDT", minutes, START - DAY_MS, START, START)
    assert [row for row in full if row.trades] == sparse
    for before, row in itertools.pairwise(full):
        if not row.trades:
            assert row == Bar(row.open_ms, *(before.close,) * 4, 0, 0, 0)


def test_a_listed_symbol_has_no_rows_before_it_trades_and_a_silent_one_only_fillers() -> None:
    clock = ManualClock(START)
    venue = Venue("binance", 3, clock, fills=True, symbols=20)
    later = START + 6 * 3_600_000
    listed = venue.listings["NOVAUSDT"].plan.listed_ms
    rows = venue.rows("NOVAUSDT", 1, START, later, later)
    assert rows[0].open_ms == listed
    assert venue.rows("NOVAUSDT", 1, START, listed, listed) == []
    silent = venue.listings["MUTEUSDT"].plan.silent
    assert silent is not None
    within = venue.rows("MUTEUSDT", 5, *silent, later)
    assert within
    assert not any(row.trades for row in within)
    assert all(row.trades for row in venue.rows("MUTEUSDT", 5, START, silent[0], later))


def test_three_hundred_days_come_quickly() -> None:
    begun = time.process_time()  # what others do on the machine is none of it
    SymbolMarket(9, LIQUID).bars(1440, START - 300 * DAY_MS, 300)
    assert time.process_time() - begun < 3.0


def test_a_seed_keeps_its_market_over_versions() -> None:
    """Homes hold a market by its seed: should this digest change, theirs would too."""
    venue = Venue("binance", 7, ManualClock(1_767_655_800_000), fills=True)
    told = [
        venue.truth(symbol, minutes, START - 2 * DAY_MS, START - DAY_MS)
        for symbol in ("BTCUSDT", "POWRUSDT")
        for minutes in (5, 60, 1440)
    ]
    assert told[2][0]["close"] == "79493.48"
    assert hashlib.sha256(repr(told).encode()).hexdigest()[:16] == "702e07b921ef1f1d"


@pytest.mark.parametrize("kind", PLANS)
@given(picked=st.lists(st.integers(0, 3 * 1440 - 1), min_size=1, max_size=60))
@settings(max_examples=20, deadline=None)
def test_prints_of_single_minutes_are_those_of_the_whole(kind: str, picked: list[int]) -> None:
    market = SymbolMarket(3, PLANS[kind])
    begin = START // MINUTE_MS
    whole = market.prints(begin, 3 * 1440)
    single = market.prints_at(np.array(picked) + begin)
    for name in ("has", "at", "price", "lots", "trades"):
        assert (getattr(single, name) == getattr(whole, name)[picked]).all(), name
