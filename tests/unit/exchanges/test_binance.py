"""Binance's dialect on frames and bodies, hand-written and recorded."""

from __future__ import annotations

import csv
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.exchanges.binance import BinanceDialect
from livermore_dagster.exchanges.contract import (
    Ack,
    BudgetRule,
    CandleFrame,
    ErrorFrame,
    Refusal,
    ShutdownNotice,
    TickerFrame,
)
from livermore_dagster.exchanges.rows import BINANCE, BINANCE_US
from livermore_dagster.market.candle import Candle, canonical
from livermore_dagster.market.closing import Closer, Reason
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from tests.recorded import recorded
from tests.unit.exchanges.closing_rig import Rig

DIALECT = BinanceDialect(BINANCE)
KLINE = (
    '{"e":"kline","E":1700000061760,"s":"ADAUSDT","k":{"t":1700000000000,"T":1700000059999,"s":"ADAUSDT",'
    '"i":"1m","f":1,"L":9,"o":"0.03500000","c":"0.03510000","h":"0.03520000","l":"0.03490000",'
    '"v":"120.00000000","n":9,"x":true,"q":"4.20000000","V":"60.0","Q":"2.1","B":"0"}}'
)


def test_a_kline_frame_becomes_a_candle_with_its_closed_flag() -> None:
    wanted = CandleFrame(
        "ADAUSDT", Timeframe.M1, Candle(1700000000000, "0.035", "0.0352", "0.0349", "0.0351", "120"),
        1700000061760, False, True, 9,
    )  # fmt: skip
    decoder = DIALECT.decoder()
    assert decoder.decode(KLINE) == [wanted]
    assert decoder.decode(KLINE.encode()) == [wanted]
    assert decoder.decode('{"stream":"adausdt@kline_1m","data":' + KLINE + "}") == [wanted]


def test_a_timeframe_that_is_not_ours_is_passed_over() -> None:
    assert DIALECT.decoder().decode(KLINE.replace('"1m"', '"30m"')) == []


def test_a_ticker_frame() -> None:
    frame = (
        '{"e":"24hrTicker","E":7,"s":"BTCUSDT","p":"1","P":"-0.500","c":"0.0025","b":"0.0024","a":"0.0026",'
        '"h":"0.1","l":"0.001","v":"10000.00","q":"18"}'
    )
    assert DIALECT.decoder().decode(frame) == [
        TickerFrame("BTCUSDT", "0.0025", "0.0024", "0.0026", "-0.5", "0.1", "0.001", "10000", "18", 7)
    ]


@pytest.mark.parametrize(
    ("frame", "events"),
    [
        ('{"result":null,"id":3}', [Ack("3")]),
        ('{"error":{"code":2,"msg":"Invalid"},"id":4}', [Refusal("2 Invalid", request_id="4")]),
        ('{"code":3,"msg":"Invalid JSON"}', [ErrorFrame("3 Invalid JSON")]),
        ('{"e":"serverShutdown","E":1}', [ShutdownNotice()]),
        ('{"e":"depthUpdate","E":1,"s":"X"}', []),
        ('{"u":1,"s":"NKNUSDT","b":"1"}', []),
    ],
)
def test_other_frames(frame: str, events: list[object]) -> None:
    assert DIALECT.decoder().decode(frame) == events


@pytest.mark.parametrize(
    "frame",
    ["", "<html>", "[1", '{"e":"kline"}', KLINE.replace('"0.03500000"', '"abc"'), b"\xff\xfe", KLINE[:-4]],
)
def test_a_malformed_frame_is_an_error_frame(frame: str | bytes) -> None:
    events = DIALECT.decoder().decode(frame)
    assert [type(event) for event in events] == [ErrorFrame]


@pytest.mark.parametrize(
    ("read", "sent"),
    [
        ('"v":"120.00000000"', '"v":null'),
        ('"v":"120.00000000"', '"v":"NaN"'),
        ('"x":true', '"x":"true"'),
        ('"E":1700000061760', '"E":"then"'),
    ],
)
def test_a_malformed_final_frame_leaves_its_candle_to_rest(read: str, sent: str) -> None:
    """Nothing is numbered here, and nothing need be: without its flag no candle is proven."""
    decoder, start = DIALECT.decoder(), 1_700_000_000_000 // 60_000 * 60_000
    rig = Rig(Closer(["ADAUSDT"], [Timeframe.M1], flagged=True))

    def kline(open_ms: int, event_ms: int, *, closed: bool) -> str:
        text = KLINE.replace('"t":1700000000000', f'"t":{open_ms}').replace(
            '"E":1700000061760', f'"E":{event_ms}'
        )
        return text if closed else text.replace('"x":true', '"x":false')

    for second in range(2, 60, 2):
        rig.play(decoder.decode(kline(start, start + second * 1_000, closed=False)))
    events = decoder.decode(KLINE.replace(read, sent))
    assert [type(event) for event in events] == [ErrorFrame]
    rig.play(events)
    for second in range(62, 76, 2):
        rig.play(decoder.decode(kline(start + 60_000, start + second * 1_000, closed=False)))
    assert [write for write in rig.writes if write.rank] == []
    assert [(one.from_ms, one.reason) for one in rig.questions] == [(start, Reason.UNPROVEN)]


def test_subscriptions_are_batched_and_numbered() -> None:
    symbols = [f"A{n}USDT" for n in range(60)]
    messages = [json.loads(m) for m in DIALECT.subscribe(symbols, (Timeframe.M1, Timeframe.H1), 5)]
    assert [m["id"] for m in messages] == [5, 6, 7]
    streams = [stream for m in messages for stream in m["params"]]
    assert len(streams) == len(set(streams)) == 180
    assert streams[:3] == ["a0usdt@kline_1m", "a0usdt@kline_1h", "a0usdt@ticker"]
    assert DIALECT.quirks.symbols_per_connection * (len(TIMEFRAMES) + 1) <= 1024
    assert json.loads(DIALECT.unsubscribe(["X"], (Timeframe.M1,), 9)[0])["method"] == "UNSUBSCRIBE"


def test_a_candles_request_is_half_open() -> None:
    request = DIALECT.candles_request("BTCUSDT", Timeframe.M15, 900_000, 2_700_000)
    assert (request.path, request.weight, request.endpoint) == ("/api/v3/klines", 2, "candles")
    assert request.params == {
        "symbol": "BTCUSDT", "interval": "15m", "startTime": "900000", "endTime": "2699999", "limit": "1000",
    }  # fmt: skip


def test_binance_us_differs_by_data_only() -> None:
    us = BinanceDialect(BINANCE_US)
    ours, theirs = (d.candles_request("X", Timeframe.M1, 0, 60_000) for d in (us, DIALECT))
    assert (ours.path, ours.params) == (theirs.path, theirs.params)
    assert (ours.weight, theirs.weight) == (1, 2)


def test_products_join_list_and_volumes() -> None:
    info = (
        b'{"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000},'
        b'{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":20000}],"symbols":['
        b'{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT"},'
        b'{"symbol":"OLDUSDT","status":"BREAK","baseAsset":"OLD","quoteAsset":"USDT"}]}'
    )
    tickers = b'[{"symbol":"BTCUSDT","lastPrice":"100.50","quoteVolume":"12.300","count":7}]'
    btc, old = DIALECT.parse_products([info, tickers])
    assert (btc.base, btc.quote, btc.trading, btc.quote_volume_24h, btc.price, btc.trades_24h) == (
        "BTC", "USDT", True, "12.3", "100.5", 7,
    )  # fmt: skip
    assert (old.trading, old.quote_volume_24h, old.trades_24h) == (False, None, None)
    assert DIALECT.budget_rule([info, tickers]) == BudgetRule(4000, 60_000), "RAW_REQUESTS is the tighter one"


@pytest.mark.parametrize("body", [b"<html>403</html>", b"", b"{}", b'[[1,"x","1","1","1","1",2,"3",4]]'])
def test_a_body_that_is_not_the_protocol_is_unavailability(body: bytes) -> None:
    with pytest.raises(ExchangeUnavailable):
        DIALECT.parse_candles(body, Timeframe.M1)


def test_feedback_reads_weight_and_how_long_to_stay_away() -> None:
    assert DIALECT.feedback(200, {"x-mbx-used-weight-1m": "42"}, b"").used == 42
    assert DIALECT.feedback(200, {}, b"").used is None
    assert DIALECT.feedback(429, {"retry-after": "17"}, b"").retry_after_ms == 17_000
    body = b'{"code":-1003,"msg":"Way too much request weight used; IP banned until 1700000120000. Please"}'
    banned = DIALECT.feedback(418, {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}, body)
    assert banned.retry_after_ms == 120_000
    assert DIALECT.error_code(418, body).startswith("-1003 ")
    assert DIALECT.feedback(418, {}, b"").retry_after_ms == 120_000


@given(
    numbers=st.lists(
        st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False, allow_infinity=False),
        min_size=5, max_size=5,
    )
)  # fmt: skip
def test_decimal_text_makes_the_round_trip(numbers: list[Decimal]) -> None:
    texts = [format(number, "f") for number in numbers]
    body = json.dumps([[0, *texts, 59_999, "0", 1, "0", "0", "0"]]).encode()
    candle = DIALECT.parse_candles(body, Timeframe.M1)[0].candle
    read = [candle.open, candle.high, candle.low, candle.close, candle.volume]
    assert [Decimal(value) for value in read] == numbers
    assert read == [canonical(value) for value in texts]
    assert all("e" not in value.lower() and not (("." in value) and value.endswith("0")) for value in read)


def test_recorded_session_decodes_without_an_error() -> None:
    path = recorded("frames/binance.ws.txt")
    decoder = DIALECT.decoder()
    frames = [line.split(": ", 1)[1] for line in path.read_text().splitlines()[1:] if ": " in line]
    events = [event for frame in frames for event in decoder.decode(frame)]
    assert not [event for event in events if isinstance(event, ErrorFrame)]
    candles = [event for event in events if isinstance(event, CandleFrame)]
    assert candles
    assert all(c.candle.open_ms % 60_000 == 0 and c.timeframe is Timeframe.M1 for c in candles)


def test_recorded_exchange_info_gives_products_and_limit() -> None:
    path = recorded("frames/binance_us.exchangeInfo.txt")
    body = path.read_text().split(": ", 1)[1].splitlines()[0].encode()
    us = BinanceDialect(BINANCE_US)
    products = us.parse_products([body, b"[]"])
    assert {"BTCUSD", "BTCUSDT"} <= {product.symbol for product in products}
    assert us.budget_rule([body, b"[]"]) == BudgetRule(1200, 60_000)


def test_recorded_rows_read_back_exactly() -> None:
    path = recorded("candles/binance_POWRBTC_1m_1581776404.csv")
    rows = list(csv.reader(path.read_text().splitlines()))
    rows = [row for row in rows if row and row[0].strip().replace(".", "").isdigit()]
    body = [[int(float(r[0])) * 1000, *r[1:6], 0, "0", 1, "0", "0", "0"] for r in rows]
    parsed = DIALECT.parse_candles(json.dumps(body).encode(), Timeframe.M1)
    assert len(parsed) == len(rows) >= 499
    assert [Decimal(p.candle.close) for p in parsed] == [Decimal(r[4]) for r in rows]
    assert sum(not p.candle.observed for p in parsed) == 197
