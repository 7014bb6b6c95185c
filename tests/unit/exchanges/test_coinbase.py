"""Coinbase's dialect on frames and bodies, hand-written and recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.exchanges.coinbase import CoinbaseDialect
from livermore_dagster.exchanges.contract import (
    Ack,
    CandleFrame,
    ErrorFrame,
    Heartbeat,
    SequenceGap,
    TickerFrame,
)
from livermore_dagster.exchanges.rows import COINBASE
from livermore_dagster.exchanges.universe import AliasTable
from livermore_dagster.market.candle import Candle
from livermore_dagster.market.closing import Closer, Reason
from livermore_dagster.market.timeframe import Timeframe
from tests.recorded import recorded
from tests.unit.exchanges.closing_rig import Rig

DIALECT = CoinbaseDialect(COINBASE)
AT = "2026-01-05T23:30:01.39625135Z"
AT_MS = 1767655801396


def frame(channel: str, number: int, events: list[object], at: str = AT) -> str:
    return json.dumps(
        {"channel": channel, "client_id": "", "timestamp": at, "sequence_num": number, "events": events}
    )


def candles(number: int, kind: str = "update") -> str:
    row = {
        "start": "1767655800", "high": "2.50", "low": "1.50", "open": "2", "close": "2.10", "volume": "0.100",
        "product_id": "BTC-USD",
    }  # fmt: skip
    return frame("candles", number, [{"type": kind, "candles": [row]}])


@pytest.mark.parametrize("kind", ["snapshot", "update"])
def test_a_candles_frame(kind: str) -> None:
    wanted = CandleFrame(
        "BTC-USD", Timeframe.M5, Candle(1767655800000, "2", "2.5", "1.5", "2.1", "0.1"), AT_MS,
        snapshot=kind == "snapshot", closed=None, trades=-1,
    )  # fmt: skip
    assert DIALECT.decoder().decode(candles(0, kind)) == [wanted]


def test_heartbeat_ticker_and_acknowledgement() -> None:
    decoder = DIALECT.decoder()
    ticker = {
        "type": "ticker", "product_id": "BTC-USD", "price": "21932.98", "volume_24_h": "16038.2870",
        "low_24_h": "21835.29", "high_24_h": "23011.18", "price_percent_chg_24_h": "-4.150",
        "best_bid": "21931.98", "best_ask": "21933.98",
    }  # fmt: skip
    heartbeat = {"current_time": "2026-01-05 23:30:01 +0000 UTC m=+91717.5", "heartbeat_counter": "3049"}
    assert decoder.decode(frame("heartbeats", 0, [heartbeat])) == [Heartbeat(AT_MS)]
    assert decoder.decode(frame("ticker", 1, [{"type": "update", "tickers": [ticker]}])) == [
        TickerFrame(
            "BTC-USD", "21932.98", "21931.98", "21933.98", "-4.15", "23011.18", "21835.29", "16038.287", None,
            AT_MS,
        )
    ]  # fmt: skip
    subscribed = {"subscriptions": {"candles": ["BTC-USD", "ETH-USD"], "heartbeats": ["heartbeats"]}}
    assert decoder.decode(frame("subscriptions", 2, [subscribed])) == [Ack(symbols=("BTC-USD", "ETH-USD"))]


def test_a_gap_in_the_sequence_comes_before_the_frame_that_shows_it() -> None:
    decoder = DIALECT.decoder()
    assert [type(e) for e in decoder.decode(candles(0))] == [CandleFrame]
    assert decoder.decode(candles(3))[0] == SequenceGap(1, 3)
    assert [type(e) for e in decoder.decode(candles(4))] == [CandleFrame]
    assert [type(e) for e in decoder.decode(candles(2))] == [CandleFrame], "late frames are no new gap"
    assert [type(e) for e in decoder.decode(candles(5))] == [CandleFrame]
    assert decoder.decode(frame("status", 7, [])) == [SequenceGap(6, 7)], "every channel counts"
    assert DIALECT.decoder().decode(candles(9)) != [], "a new connection counts from what it sees"


@pytest.mark.parametrize(
    "text", ["", "<html>", '{"channel":"candles","sequence_num":0}', candles(0).replace("2.50", "x")]
)
def test_a_malformed_frame_is_an_error_frame(text: str) -> None:
    assert ErrorFrame in [type(event) for event in DIALECT.decoder().decode(text)]


def rows_of(number: int, *rows: dict[str, object]) -> str:
    return frame("candles", number, [{"type": "update", "candles": list(rows)}])


def row(product: str, start: int = 1767655800, **other: object) -> dict[str, object]:
    plain: dict[str, object] = {"high": "2", "low": "1", "open": "1", "close": "2", "volume": "5"}
    return {"start": str(start), **plain, "product_id": product, **other}


@pytest.mark.parametrize("volume", [None, "NaN", "a lot", 5])
def test_one_malformed_candle_of_a_frame_loses_no_other_and_says_whose_it_was(volume: object) -> None:
    decoder = DIALECT.decoder()
    first, lost, last = decoder.decode(rows_of(0, row("A"), row("B", volume=volume), row("C")))
    assert isinstance(first, CandleFrame)
    assert isinstance(last, CandleFrame)
    assert (first.symbol, last.symbol, last.candle.volume) == ("A", "C", "5")
    assert isinstance(lost, ErrorFrame)
    assert (lost.loses_candles, lost.symbol) == (True, "B")
    assert [type(event) for event in decoder.decode(candles(1))] == [CandleFrame], "its number was used up"


@pytest.mark.parametrize(
    "text",
    [
        candles(0).replace(AT, "yesterday"),
        candles(0).replace('"BTC-USD"', "null"),
        candles(0).replace('"update"', "7"),
    ],
)
def test_a_candle_lost_without_its_name_may_be_anyones(text: str) -> None:
    (lost,) = DIALECT.decoder().decode(text)
    assert isinstance(lost, ErrorFrame)
    assert (lost.loses_candles, lost.symbol) == (True, None)


@pytest.mark.parametrize("successor", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_a_candle_whose_last_update_was_malformed_is_not_proven(*, named: bool, successor: bool) -> None:
    decoder, start = DIALECT.decoder(), 1767655800
    rig = Rig(Closer(["A", "B"], [Timeframe.M5], flagged=False))
    for second in range(1, 298):
        rig.play(decoder.decode(_at(rows_of(second, row("A"), row("B")), start + second)))
    bad = row("A", close="9", volume=None)
    if not named:
        del bad["product_id"]
    rig.play(decoder.decode(_at(rows_of(298, row("B"), bad), start + 298)))
    rig.play(decoder.decode(_at(rows_of(299, row("B", volume="6")), start + 299)))
    after = [row("A", start + 300)] if successor else []
    for second in range(301, 320):
        text = rows_of(second - 1, *after, row("B", start + 300))
        rig.play(decoder.decode(_at(text, start + second)))
    assert [(write.symbol, write.candle.volume) for write in rig.writes if write.rank] == [("B", "6")]
    assert [(one.symbol, one.reason) for one in rig.questions] == [("A", Reason.UNPROVEN)]


def _at(text: str, second: int) -> str:
    return text.replace(AT, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def test_an_error_frame() -> None:
    text = '{"type":"error","message":"authentication failure","reason":"no key"}'
    assert DIALECT.decoder().decode(text) == [ErrorFrame("authentication failure: no key")]


@pytest.mark.parametrize(
    ("timestamp", "ms"),
    [
        ("2026-01-05T23:30:01Z", 1767655801000),
        ("2026-01-05T23:30:01.5Z", 1767655801500),
        ("2026-01-05T23:30:01.039999999Z", 1767655801039),
        ("2026-01-05T23:30:01.25+00:00", 1767655801250),
    ],
)
def test_timestamps(timestamp: str, ms: int) -> None:
    assert DIALECT.decoder().decode(frame("heartbeats", 0, [], timestamp)) == [Heartbeat(ms)]


def test_subscriptions_name_one_channel_each_and_heartbeats_once() -> None:
    first = [json.loads(m) for m in DIALECT.subscribe(["BTC-USD"], (Timeframe.M5,), 1)]
    assert [m["channel"] for m in first] == ["heartbeats", "candles", "ticker"]
    assert "product_ids" not in first[0]
    again = [json.loads(m) for m in DIALECT.subscribe(["BTC-USD"], (Timeframe.M5,), 4)]
    assert [m["channel"] for m in again] == ["candles", "ticker"]


def test_a_candles_request_asks_no_bar_twice() -> None:
    request = DIALECT.candles_request("BTC-USD", Timeframe.H4, 0, 300 * 14_400_000)
    assert request.path == "/api/v3/brokerage/market/products/BTC-USD/candles"
    assert request.params["granularity"] == "FOUR_HOUR"
    span_s = int(request.params["end"]) - int(request.params["start"])
    assert span_s // 14_400 + 1 == 300, "both edges count"
    assert DIALECT.quirks.rest_rows <= 300


def test_pages_come_newest_first_and_leave_oldest_first() -> None:
    rows = [
        {"start": str(start), "low": "1", "high": "2", "open": "1.0", "close": "2", "volume": "3"}
        for start in (900, 600, 300)
    ]
    parsed = DIALECT.parse_candles(json.dumps({"candles": rows}).encode(), Timeframe.M5)
    assert [row.candle.open_ms for row in parsed] == [300_000, 600_000, 900_000]
    assert DIALECT.parse_candles(b'{"candles":[]}', Timeframe.M5) == []
    with pytest.raises(ExchangeUnavailable):
        DIALECT.parse_candles(b"<html>blocked</html>", Timeframe.M5)


def test_the_refusal_of_a_granularity_is_recognisable() -> None:
    body = b'{"error":"INVALID_ARGUMENT","error_details":"granularity argument is invalid","message":"x"}'
    assert "granularity argument is invalid" in DIALECT.error_code(400, body)
    assert DIALECT.error_code(502, b"<html>") == ""


def test_feedback_tells_what_is_used_of_the_stated_limit() -> None:
    """By us and by others: what we allow ourselves is less than the limit."""
    headers = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "3"}
    assert DIALECT.feedback(200, headers, b"").used == 7
    assert DIALECT.feedback(200, {"x-ratelimit-remaining": "3"}, b"").used is None
    refused = DIALECT.feedback(429, {}, b'{"errors":[{"id":"rate_limit_exceeded"}]}')
    assert refused.retry_after_ms == 5_000


def product(symbol: str, **facts: object) -> dict[str, object]:
    base, quote = symbol.split("-")
    return {
        "product_id": symbol, "base_currency_id": base, "quote_currency_id": quote, "status": "online",
        "price": "2.0", "volume_24h": "10", **facts,
    }  # fmt: skip


def test_products_aliases_and_what_stops_trading() -> None:
    body = json.dumps(
        {
            "products": [
                product("BTC-USD", alias_to=["BTC-USDC"], approximate_quote_24h_volume="7.50"),
                product("BTC-USDC", alias="BTC-USD"),
                product("ETH-USD", alias_to=["ETH-USDC"]),
                product("ETH-USDC"),
                product("OLD-USD", view_only=True),
                product("OFF-USD", status="delisted"),
            ]
        }
    ).encode()
    products = {p.symbol: p for p in DIALECT.parse_products([body])}
    assert products["BTC-USD"].quote_volume_24h == "7.5"
    assert products["ETH-USD"].quote_volume_24h == "20", "base volume × price where no quote volume is told"
    assert (products["OLD-USD"].trading, products["OFF-USD"].trading) == (False, False)
    aliases = AliasTable(products.values())
    assert aliases.canonical("BTC-USDC") == aliases.canonical("BTC-USD") == "BTC-USD"
    assert aliases.canonical("ETH-USDC") == "ETH-USD"
    assert aliases.aliases("BTC-USD") == ("BTC-USDC",)


def test_recorded_pages() -> None:
    for name in ("", "_all_call_1", "_all_call_2", "_all_call_3"):
        path = recorded(f"coinbase/get_product_candles{name}_success_response.json")
        body = path.read_bytes()
        raw = json.loads(body)["candles"]
        rows = DIALECT.parse_candles(body, Timeframe.D1)
        assert len(rows) == len(raw) > 0
        opens = [row.candle.open_ms for row in rows]
        assert opens == sorted(opens) == sorted(int(r["start"]) * 1000 for r in raw)


def test_recorded_products_and_time() -> None:
    listed = recorded("coinbase/list_products_success_response.json")
    single = recorded("coinbase/advanced_product_btc_usd.json")
    clock = recorded("coinbase/advanced_time.json")
    assert "BTC-USD" in {p.symbol for p in DIALECT.parse_products([listed.read_bytes()])}
    (btc,) = DIALECT.parse_products([b'{"products":[' + single.read_bytes() + b"]}"])
    assert (btc.alias_of, btc.trading, btc.quote_volume_24h) == (None, True, "385375332.57")
    assert DIALECT.parse_time(clock.read_bytes()) == 1790735849298
