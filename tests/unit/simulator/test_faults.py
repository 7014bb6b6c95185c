"""Fault orders are checked, aimed and bounded."""

from __future__ import annotations

from typing import Any

import pytest

from livermore_dagster.simulator.faults import BadFault, FaultBoard, FaultKind

SYMBOLS: dict[str, Any] = {"BTCUSDT": None, "ETHUSDT": None}


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({}, "unknown kind"),
        ({"kind": "flood"}, "unknown kind"),
        ({"kind": "drop", "duration": 3}, "unknown fields"),
        ({"kind": "stall", "symbol": "NOPE"}, "unknown symbol"),
        ({"kind": "stall", "channel": "trades"}, "unknown channel"),
        ({"kind": "stall", "duration_s": -1}, "between"),
        ({"kind": "stall", "duration_s": "10"}, "number"),
        ({"kind": "duplicate", "count": 1.5}, "whole"),
        ({"kind": "duplicate", "count": True}, "whole"),
        ({"kind": "refuse_subscription"}, "needs a symbol"),
        ({"kind": "foreign_weight"}, "needs a count"),
        ({"kind": "drop", "connection": 0}, "between"),
        ({"kind": "drop", "duration_s": 3}, "drop takes kind, after_s, from_ms, connection"),
        ({"kind": "late_row", "connection": 1}, "late_row takes"),
        ({"kind": "stall", "symbol": "NOPE"}, "'NOPE'"),
        ({"kind": "stall", "timeframe": "7m"}, "unknown timeframe '7m'; there are 1m, 5m"),
        ({"kind": "error_page", "endpoint": "orders"}, "unknown endpoint 'orders'; there are ping"),
        ({"kind": "error_page", "status": 200}, "status must lie between 400 and 599, not 200"),
        ({"kind": "close", "code": 1006}, "never travels"),
        ({"kind": "skew"}, "skew needs a skew_ms"),
        ({"kind": "skew", "skew_ms": 9, "where": "moon"}, "unknown where 'moon'; there are rest, stream"),
        ({"kind": "rate_limit", "form": "html"}, "there are errors, grpc"),
        ({"kind": "lag", "delay_s": 0}, "delay_s must lie between 0.01 and 600, not 0"),
        ({"kind": "stall", "from_ms": 5}, "from_ms needs until_ms or count"),
        ({"kind": "stall", "from_ms": 5, "duration_s": 3}, "from_ms is market time"),
        ({"kind": "stall", "until_ms": 1000}, "until_ms 1000 is not after its beginning"),
        ({"kind": "sequence_gap"}, "binance numbers no frames"),
    ],
)
def test_bad_orders_say_why(order: dict[str, Any], why: str) -> None:
    with pytest.raises(BadFault, match=why):
        FaultBoard("binance", lambda: 2000).order(order, SYMBOLS)


def test_a_count_bounds_a_fault() -> None:
    board = FaultBoard("binance", lambda: 0)
    board.order({"kind": "duplicate", "symbol": "BTCUSDT", "count": 2}, SYMBOLS)
    hits = [board.strike(FaultKind.DUPLICATE, symbol="BTCUSDT") is not None for _ in range(3)]
    assert hits == [True, True, False]


def test_a_fault_strikes_only_what_it_is_aimed_at() -> None:
    board = FaultBoard("binance", lambda: 0)
    board.order({"kind": "stall", "symbol": "BTCUSDT", "connection": 3, "channel": "ticker"}, SYMBOLS)

    def strikes(symbol: str, connection: int, channel: str) -> bool:
        aim = {"symbol": symbol, "connection": connection, "channel": channel}
        return board.strike(FaultKind.STALL, **aim) is not None

    assert strikes("BTCUSDT", 3, "ticker")
    assert not strikes("ETHUSDT", 3, "ticker")
    assert not strikes("BTCUSDT", 4, "ticker")
    assert not strikes("BTCUSDT", 3, "candles")
    assert not board.strike(FaultKind.DROP)


def test_a_fault_may_begin_later() -> None:
    board = FaultBoard("binance", lambda: 0)
    board.order({"kind": "stall", "after_s": 60}, SYMBOLS)
    assert not board.strike(FaultKind.STALL)


def test_market_time_bounds_a_fault() -> None:
    times = iter((1000, 2000, 2999, 3000))
    board = FaultBoard("binance", lambda: next(times))
    board.order({"kind": "stall", "from_ms": 2000, "until_ms": 3000}, SYMBOLS)
    struck = [board.strike(FaultKind.STALL) is not None for _ in range(4)]
    assert struck == [False, True, True, False]
    assert board.is_quiet


def test_strikes_are_counted_by_kind_for_good() -> None:
    board = FaultBoard("binance", lambda: 0)
    for _ in range(3):
        board.order({"kind": "lose", "count": 2}, SYMBOLS)
    board.order({"kind": "skew", "skew_ms": 5, "where": "stream"}, SYMBOLS)
    for _ in range(9):
        board.strike(FaultKind.LOSE)
    assert (board.skew_ms("rest"), board.skew_ms("stream")) == (0, 5)
    assert board.done == {"lose": 6, "skew": 1}
    assert board.ordered == 4


def test_what_is_over_leaves_the_board_quiet() -> None:
    board = FaultBoard("binance", lambda: 0)
    board.order({"kind": "lose", "count": 1}, SYMBOLS)
    assert not board.is_quiet
    board.strike(FaultKind.LOSE)
    board.tidy()
    assert board.is_quiet
