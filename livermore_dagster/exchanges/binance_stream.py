"""Decodes Binance's market stream frames: raw ones and those of combined streams."""

from __future__ import annotations

from typing import Any

import msgspec

from livermore_dagster.exchanges.contract import (
    Ack,
    CandleFrame,
    ErrorFrame,
    Refusal,
    ShutdownNotice,
    StreamEvent,
    TickerFrame,
)
from livermore_dagster.exchanges.wire import fresh_text, text, text_or_none
from livermore_dagster.market.candle import Candle
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["BinanceDecoder"]


class _K(msgspec.Struct, kw_only=True, gc=False):
    """All that is sent, in its order, read or not: each name is then found by one comparison, which takes a
    fifth less than passing over what is not named here."""

    open_ms: int = msgspec.field(name="t")
    end: Any = msgspec.field(name="T", default=None)
    symbol: Any = msgspec.field(name="s", default=None)
    interval: str = msgspec.field(name="i")
    first_trade: Any = msgspec.field(name="f", default=None)
    last_trade: Any = msgspec.field(name="L", default=None)
    open: str = msgspec.field(name="o")
    close: str = msgspec.field(name="c")
    high: str = msgspec.field(name="h")
    low: str = msgspec.field(name="l")
    volume: str = msgspec.field(name="v")
    trades: int = msgspec.field(name="n")
    closed: bool = msgspec.field(name="x")
    quote_volume: Any = msgspec.field(name="q", default=None)
    taker_volume: Any = msgspec.field(name="V", default=None)
    taker_quote_volume: Any = msgspec.field(name="Q", default=None)
    ignored: Any = msgspec.field(name="B", default=None)


class _Kline(msgspec.Struct, tag_field="e", tag="kline", gc=False):
    event_ms: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    k: _K


class _Ticker(msgspec.Struct, tag_field="e", tag="24hrTicker", gc=False):
    event_ms: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    price: str = msgspec.field(name="c")
    change: str = msgspec.field(name="P", default="")
    bid: str = msgspec.field(name="b", default="")
    ask: str = msgspec.field(name="a", default="")
    high: str = msgspec.field(name="h", default="")
    low: str = msgspec.field(name="l", default="")
    volume: str = msgspec.field(name="v", default="")
    quote_volume: str = msgspec.field(name="q", default="")


class _Shutdown(msgspec.Struct, tag_field="e", tag="serverShutdown", gc=False):
    event_ms: int = msgspec.field(name="E", default=0)


class _Combined(msgspec.Struct, gc=False):
    data: _Kline | _Ticker | _Shutdown


class _Problem(msgspec.Struct, gc=False):
    code: int = 0
    msg: str = ""


class _Answer(msgspec.Struct, gc=False):
    """A reply to a message of ours, or an error outside any."""

    id: int | str | None = None
    error: _Problem | None = None
    code: int | None = None
    msg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")
    stream: str = ""
    event: str = msgspec.field(name="e", default="")


_raw = msgspec.json.Decoder(_Kline | _Ticker | _Shutdown)
_combined = msgspec.json.Decoder(_Combined)
_answer = msgspec.json.Decoder(_Answer)

_TIMEFRAMES = {timeframe.value: timeframe for timeframe in Timeframe}


class BinanceDecoder:
    """Kline frames carry the exchange's closed flag; nothing is numbered, so no gap can be noticed here."""

    def decode(self, frame: str | bytes) -> list[StreamEvent]:
        message: Any
        try:
            message = _raw.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError):
            try:
                message = _combined.decode(frame).data
            except (msgspec.DecodeError, UnicodeDecodeError):
                return _decode_answer(frame)
        try:
            if type(message) is _Kline:
                k = message.k
                candle = Candle(
                    k.open_ms, text(k.open), text(k.high), text(k.low), text(k.close), fresh_text(k.volume)
                )
                timeframe = _TIMEFRAMES.get(k.interval)
                if timeframe is None:
                    return []
                return [
                    CandleFrame(
                        message.symbol, timeframe, candle, message.event_ms, False, k.closed, k.trades
                    )
                ]
            if type(message) is _Ticker:
                return [_ticker(message)]
        except ValueError as error:
            return [ErrorFrame(f"{error} in {_shown(frame)}")]
        return [ShutdownNotice()]


def _ticker(message: _Ticker) -> TickerFrame:
    return TickerFrame(
        symbol=message.symbol,
        price=text(message.price),
        bid=text_or_none(message.bid),
        ask=text_or_none(message.ask),
        change_24h_pct=text_or_none(message.change),
        high_24h=text_or_none(message.high),
        low_24h=text_or_none(message.low),
        volume_24h=text_or_none(message.volume),
        quote_volume_24h=text_or_none(message.quote_volume),
        event_ms=message.event_ms,
    )


def _decode_answer(data: str | bytes) -> list[StreamEvent]:
    """What is no market event: an acknowledgement, a refusal, a channel we do not read, or nonsense."""
    try:
        answer = _answer.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [ErrorFrame(f"{error} in {_shown(data)}")]
    request_id = None if answer.id is None else str(answer.id)
    problem = answer.error or (_Problem(answer.code, answer.msg) if answer.code is not None else None)
    if problem is not None:
        reason = f"{problem.code} {problem.msg}".strip()
        return [Refusal(reason, request_id=request_id) if request_id else ErrorFrame(reason)]
    if request_id is not None:
        return [Ack(request_id)]
    if answer.event in ("kline", "24hrTicker") or "@kline" in answer.stream or "@ticker" in answer.stream:
        return [ErrorFrame(f"malformed {answer.event or answer.stream}: {_shown(data)}")]
    return []


def _shown(data: str | bytes) -> str:
    return repr(data[:120] if isinstance(data, str) else data[:120].decode("utf-8", "replace"))
