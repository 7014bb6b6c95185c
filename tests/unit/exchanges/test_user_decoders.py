"""Frames of the user channels, by the exchanges' documentation."""

from __future__ import annotations

import json

import pytest

from livermore_dagster.exchanges.binance_user_stream import BinanceUserDecoder
from livermore_dagster.exchanges.coinbase_user_stream import CoinbaseUserDecoder
from livermore_dagster.exchanges.contract import (
    Ack,
    ErrorFrame,
    Heartbeat,
    Refusal,
    SequenceGap,
    ShutdownNotice,
)
from livermore_dagster.exchanges.user_stream import UserEvent, UserEventKind

AT = "2026-04-07T14:30:06.123456Z"
AT_MS = 1_775_572_206_123
REPORT = {
    "e": "executionReport", "E": 1499405658658, "s": "ETHBTC", "S": "BUY", "x": "TRADE", "X": "FILLED",
    "i": 4293153, "l": "1.0", "n": "0", "N": None, "T": 1499405658657, "t": 77, "I": 8641984,
}  # fmt: skip


def coinbase(number: int, kind: str, *orders: tuple[str, str, str]) -> str:
    rows = [
        {"order_id": name, "product_id": "BTC-USD", "cumulative_quantity": filled, "status": status,
         "client_order_id": "c", "leaves_quantity": "1", "avg_price": "0", "total_fees": "0"}
        for name, filled, status in orders
    ]  # fmt: skip
    return json.dumps(
        {"channel": "user", "client_id": "", "timestamp": AT, "sequence_num": number,
         "events": [{"type": kind, "orders": rows}]}
    )  # fmt: skip


def event(kind: UserEventKind, order_id: str) -> UserEvent:
    return UserEvent(kind, "BTC-USD", order_id, None, AT_MS)


def test_coinbase_tells_a_fill_by_more_of_an_order_filled() -> None:
    decoder = CoinbaseUserDecoder()
    assert decoder.decode(coinbase(0, "snapshot", ("a", "0.5", "OPEN"))) == []
    assert decoder.decode(coinbase(1, "update", ("a", "0.5", "OPEN"))) == [event(UserEventKind.ORDER, "a")]
    assert decoder.decode(coinbase(2, "update", ("a", "0.7", "OPEN"))) == [event(UserEventKind.FILL, "a")]
    assert decoder.decode(coinbase(3, "update", ("a", "0.7", "CANCELLED"))) == [
        event(UserEventKind.ORDER, "a")
    ]
    assert decoder.decode(coinbase(4, "update", ("b", "0", "PENDING"), ("b", "1", "FILLED"))) == [
        event(UserEventKind.ORDER, "b"),
        event(UserEventKind.FILL, "b"),
    ]


def test_coinbase_common_frames() -> None:
    decoder = CoinbaseUserDecoder()
    subscribed = {"channel": "subscriptions", "timestamp": AT, "sequence_num": 0}
    only_heartbeats = {**subscribed, "events": [{"subscriptions": {"heartbeats": ["heartbeats"]}}]}
    both = {**subscribed, "sequence_num": 1, "events": [{"subscriptions": {"heartbeats": [], "user": ["u"]}}]}
    assert decoder.decode(json.dumps(only_heartbeats)) == []
    assert decoder.decode(json.dumps(both)) == [Ack()]
    heartbeat = {"channel": "heartbeats", "timestamp": AT, "sequence_num": 2, "events": []}
    assert decoder.decode(json.dumps(heartbeat)) == [Heartbeat(AT_MS)]
    assert decoder.decode(coinbase(5, "update")) == [SequenceGap(3, 5)]
    refused = {"type": "error", "message": "authentication failure"}
    assert decoder.decode(json.dumps(refused)) == [ErrorFrame("authentication failure")]


@pytest.mark.parametrize(
    "frame",
    ["not json", coinbase(0, "update", ("a", "NaN", "OPEN")), coinbase(0, "update").replace(AT, "soon"),
     coinbase(0, "update", ("a", "1", "OPEN")).replace("cumulative_quantity", "quantity")],
)  # fmt: skip
def test_a_malformed_coinbase_frame_is_told(frame: str) -> None:
    (told,) = CoinbaseUserDecoder().decode(frame)
    assert isinstance(told, ErrorFrame)


@pytest.mark.parametrize("frame", [REPORT, {"event": REPORT}, {"subscriptionId": 0, "event": REPORT}])
def test_binance_reports_trades_by_their_id(frame: dict) -> None:
    expected = UserEvent(UserEventKind.FILL, "ETHBTC", "4293153", "77", 1499405658657)
    assert BinanceUserDecoder().decode(json.dumps(frame).encode()) == [expected]


def test_binance_reports_other_changes_of_an_order() -> None:
    frame = json.dumps({**REPORT, "x": "CANCELED", "t": -1})
    (told,) = BinanceUserDecoder().decode(frame)
    assert told == UserEvent(UserEventKind.ORDER, "ETHBTC", "4293153", None, 1499405658657)


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ({"id": 1, "status": 200, "result": {"subscriptionId": 0}}, [Ack("1")]),
        (
            {
                "id": 1,
                "status": 400,
                "error": {"code": -1022, "msg": "Signature for this request is not valid."},
            },
            [Refusal("-1022 Signature for this request is not valid.", request_id="1")],
        ),
        ({"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": 1}}, [ShutdownNotice()]),
        ({"e": "listenKeyExpired", "E": "1699596037418", "listenKey": "x"}, [ShutdownNotice()]),
        ({"e": "outboundAccountPosition", "E": 1, "u": 1, "B": []}, []),
        ({"e": "balanceUpdate", "E": 1, "a": "BTC", "d": "1", "T": 1}, []),
        ({"event": {"e": "listStatus", "s": "ETHBTC", "T": 1, "g": 2}}, []),
    ],
)
def test_binance_other_frames(frame: dict, told: list) -> None:
    assert BinanceUserDecoder().decode(json.dumps(frame)) == told


@pytest.mark.parametrize("frame", ["<html>", json.dumps({k: v for k, v in REPORT.items() if k != "i"})])
def test_a_malformed_binance_frame_is_told(frame: str) -> None:
    (told,) = BinanceUserDecoder().decode(frame)
    assert isinstance(told, ErrorFrame)
