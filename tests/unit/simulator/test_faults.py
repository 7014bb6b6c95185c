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
    ],
)
def test_bad_orders_say_why(order: dict[str, Any], why: str) -> None:
    with pytest.raises(BadFault, match=why):
        FaultBoard("binance", lambda: 0).order(order, SYMBOLS)


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
