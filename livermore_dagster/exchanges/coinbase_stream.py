"""Decodes Coinbase Advanced's market data frames and notices lost ones by their sequence number."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from livermore_dagster.exchanges.contract import (
    Ack,
    CandleFrame,
    ErrorFrame,
    Heartbeat,
    SequenceGap,
    StreamEvent,
    TickerFrame,
)
from livermore_dagster.exchanges.wire import fresh_text, text, text_or_none
from livermore_dagster.market.candle import Candle
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["CoinbaseDecoder", "utc_ms"]


class _Candle(msgspec.Struct, gc=False):
    start: str
    high: str
    low: str
    open: str
    close: str
    volume: str
    product_id: str


class _CandleEvent(msgspec.Struct, gc=False):
    type: str
    candles: list[_Candle] = []


class _Candles(msgspec.Struct, tag_field="channel", tag="candles", gc=False):
    timestamp: str
    sequence_num: int
    events: list[_CandleEvent]


class _Ticker(msgspec.Struct, gc=False):
    product_id: str
    price: str
    change: str = msgspec.field(name="price_percent_chg_24_h", default="")
    bid: str = msgspec.field(name="best_bid", default="")
    ask: str = msgspec.field(name="best_ask", default="")
    high: str = msgspec.field(name="high_24_h", default="")
    low: str = msgspec.field(name="low_24_h", default="")
    volume: str = msgspec.field(name="volume_24_h", default="")


class _TickerEvent(msgspec.Struct, gc=False):
    tickers: list[_Ticker] = []


class _Tickers(msgspec.Struct, tag_field="channel", tag="ticker", gc=False):
    timestamp: str
    sequence_num: int
    events: list[_TickerEvent]


class _TickerBatch(msgspec.Struct, tag_field="channel", tag="ticker_batch", gc=False):
    timestamp: str
    sequence_num: int
    events: list[_TickerEvent]


class _Heartbeats(msgspec.Struct, tag_field="channel", tag="heartbeats", gc=False):
    timestamp: str
    sequence_num: int


class _SubscriptionEvent(msgspec.Struct, gc=False):
    subscriptions: dict[str, list[str] | None] = {}


class _Subscriptions(msgspec.Struct, tag_field="channel", tag="subscriptions", gc=False):
    timestamp: str = ""
    sequence_num: int | None = None
    events: list[_SubscriptionEvent] = []


class _Other(msgspec.Struct, gc=False):
    """Enough of any frame: an error, or the number of one whose channel is not read."""

    type: str = ""
    message: str = ""
    reason: str = ""
    channel: str = ""
    sequence_num: int | None = None


class _RawCandleEvent(msgspec.Struct, gc=False):
    type: str
    candles: list[msgspec.Raw] = []


class _RawCandles(msgspec.Struct, gc=False):
    """A candles frame whose candles are read one by one, for some of them are malformed."""

    timestamp: str
    events: list[_RawCandleEvent]


class _Named(msgspec.Struct, gc=False):
    product_id: str


_READ = ("candles", "ticker", "ticker_batch", "heartbeats", "subscriptions")
_frame = msgspec.json.Decoder(_Candles | _Tickers | _TickerBatch | _Heartbeats | _Subscriptions)
_other = msgspec.json.Decoder(_Other)
_raw_candles = msgspec.json.Decoder(_RawCandles)
_one_candle = msgspec.json.Decoder(_Candle)
_named = msgspec.json.Decoder(_Named)


@lru_cache(maxsize=64)
def _second_ms(second: str) -> int:
    """'2026-01-05T23:30:00' as epoch ms."""
    return int(datetime.fromisoformat(second).replace(tzinfo=UTC).timestamp()) * 1000


def utc_ms(timestamp: str) -> int:
    """RFC 3339 with any number of decimals, UTC, as epoch ms. Raises ValueError for anything else."""
    if not timestamp.endswith("Z"):
        return int(datetime.fromisoformat(timestamp).astimezone(UTC).timestamp() * 1000)
    return _second_ms(timestamp[:19]) + int((timestamp[20:-1] + "000")[:3])


class CoinbaseDecoder:
    """One connection's decoder. `sequence_num` counts its frames over all channels.

    A frame that cannot be read has used up its number, so no gap shows what it held: its ErrorFrame does.
    """

    def __init__(self) -> None:
        self._expected: int | None = None

    def decode(self, frame: str | bytes) -> list[StreamEvent]:
        message: Any
        try:
            message = _frame.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._decode_other(frame)
        events = self._gap(message.sequence_num)
        try:
            events += _events(message)
        except ValueError as error:
            if type(message) is _Candles:
                return events + _readable(frame)
            events.append(ErrorFrame(f"{error} in {_shown(frame)}"))
        return events

    def _gap(self, number: int | None) -> list[StreamEvent]:
        if number is None:
            return []
        expected = self._expected
        if expected is None or number >= expected:
            self._expected = number + 1
        if expected is not None and number > expected:
            return [SequenceGap(expected, number)]
        # A number already passed is a repeated or late frame: what it carries is judged by its own time.
        return []

    def _decode_other(self, frame: str | bytes) -> list[StreamEvent]:
        try:
            other = _other.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return [ErrorFrame(f"{error} in {_shown(frame)}")]
        events = self._gap(other.sequence_num)
        if other.type == "error":
            events.append(ErrorFrame(": ".join(part for part in (other.message, other.reason) if part)))
        elif other.channel == "candles":
            events += _readable(frame)
        elif other.channel in _READ:
            events.append(ErrorFrame(f"malformed {other.channel} frame {_shown(frame)}"))
        return events


def _events(message: Any) -> list[StreamEvent]:
    kind = type(message)
    if kind is _Candles:
        return _candles(message)
    if kind is _Tickers or kind is _TickerBatch:
        event_ms = utc_ms(message.timestamp)
        return [_ticker(ticker, event_ms) for event in message.events for ticker in event.tickers]
    if kind is _Heartbeats:
        return [Heartbeat(utc_ms(message.timestamp))]
    symbols = {
        symbol: None for event in message.events for symbol in event.subscriptions.get("candles") or ()
    }
    return [Ack(symbols=tuple(symbols))]


def _candles(message: _Candles) -> list[StreamEvent]:
    event_ms = utc_ms(message.timestamp)
    return [
        CandleFrame(c.product_id, Timeframe.M5, _candle(c), event_ms, event.type == "snapshot")
        for event in message.events
        for c in event.candles
    ]


def _readable(frame: str | bytes) -> list[StreamEvent]:
    """What can be read of a malformed candles frame, each candle by itself, and what cannot."""
    try:
        message = _raw_candles.decode(frame)
        event_ms = utc_ms(message.timestamp)
    except ValueError as error:
        return [ErrorFrame(f"malformed candles frame: {error} in {_shown(frame)}", loses_candles=True)]
    return [
        _one(raw, event_ms, snapshot=event.type == "snapshot")
        for event in message.events
        for raw in event.candles
    ]


def _one(raw: msgspec.Raw, event_ms: int, *, snapshot: bool) -> CandleFrame | ErrorFrame:
    try:
        c = _one_candle.decode(raw)
        return CandleFrame(c.product_id, Timeframe.M5, _candle(c), event_ms, snapshot)
    except ValueError as error:
        message = f"malformed candle: {error} in {_shown(bytes(raw))}"
    try:
        return ErrorFrame(message, loses_candles=True, symbol=_named.decode(raw).product_id)
    except ValueError:
        return ErrorFrame(message, loses_candles=True)


def _candle(c: _Candle) -> Candle:
    opened, high, low = text(c.open), text(c.high), text(c.low)
    return Candle(int(c.start) * 1000, opened, high, low, text(c.close), fresh_text(c.volume))


def _ticker(ticker: _Ticker, event_ms: int) -> TickerFrame:
    return TickerFrame(
        symbol=ticker.product_id,
        price=text(ticker.price),
        bid=text_or_none(ticker.bid),
        ask=text_or_none(ticker.ask),
        change_24h_pct=text_or_none(ticker.change),
        high_24h=text_or_none(ticker.high),
        low_24h=text_or_none(ticker.low),
        volume_24h=text_or_none(ticker.volume),
        # The channel gives base volume only, and nothing is made up.
        quote_volume_24h=None,
        event_ms=event_ms,
    )


def _shown(frame: str | bytes) -> str:
    return repr(frame[:120] if isinstance(frame, str) else frame[:120].decode("utf-8", "replace"))
