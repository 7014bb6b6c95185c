"""The language of Binance and Binance.US: one protocol, two rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import islice

import msgspec

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.exchanges.binance_stream import BinanceDecoder
from livermore_dagster.exchanges.contract import (
    BudgetFeedback,
    BudgetRule,
    Quirks,
    Request,
    RestCandle,
)
from livermore_dagster.exchanges.wire import decode_body, retry_after_ms, spread_bps, text, text_or_none
from livermore_dagster.market.candle import Candle
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["BinanceDialect"]


@dataclass(frozen=True, slots=True)
class _Venue:
    """What differs between the two and is no column of the row."""

    quirks: Quirks
    page: str


def _quirks(start: BudgetRule) -> Quirks:
    return Quirks(
        closed_flag=True,
        rest_rows=1000,
        rest_fills_empty=True,
        grace_ms=1500,
        # 1024 streams a connection; six candle streams and a ticker each.
        symbols_per_connection=140,
        # The exchange allows 5, its own pings' answers included.
        client_messages_per_s=4.0,
        # Cut at 24 h; renewed well before.
        lifetime_s=23 * 3600.0,
        client_ping_s=None,
        budget=start,
        symbols_per_message=25,
    )


# Five candle requests a second until the exchange has stated its limit.
_VENUES: Mapping[str, _Venue] = {
    "binance": _Venue(_quirks(BudgetRule(600, 60_000)), "https://www.binance.com/en/trade/{}?type=spot"),
    "binance_us": _Venue(_quirks(BudgetRule(300, 60_000)), "https://www.binance.us/spot-trade/{}"),
}


class _Time(msgspec.Struct, gc=False):
    server_time: int = msgspec.field(name="serverTime")


class _Symbol(msgspec.Struct, gc=False):
    symbol: str
    status: str
    base: str = msgspec.field(name="baseAsset")
    quote: str = msgspec.field(name="quoteAsset")
    spot: bool = msgspec.field(name="isSpotTradingAllowed", default=True)


class _RateLimit(msgspec.Struct, gc=False):
    kind: str = msgspec.field(name="rateLimitType")
    interval: str
    count: int = msgspec.field(name="intervalNum")
    limit: int


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]
    limits: list[_RateLimit] = msgspec.field(name="rateLimits", default_factory=list)


class _Ticker(msgspec.Struct, gc=False):
    symbol: str
    last: str = msgspec.field(name="lastPrice", default="")
    quote_volume: str = msgspec.field(name="quoteVolume", default="")
    trades: int = msgspec.field(name="count", default=-1)
    change: str = msgspec.field(name="priceChangePercent", default="")
    bid: str = msgspec.field(name="bidPrice", default="")
    bid_size: str = msgspec.field(name="bidQty", default="")
    ask: str = msgspec.field(name="askPrice", default="")
    ask_size: str = msgspec.field(name="askQty", default="")


class _Kline(msgspec.Struct, array_like=True, gc=False):
    """Further columns (taker volumes, an unused one) are ignored."""

    open_ms: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_ms: int
    quote_volume: str
    trades: int


class _Error(msgspec.Struct, gc=False):
    code: int
    msg: str = ""


_time = msgspec.json.Decoder(_Time)
_info = msgspec.json.Decoder(_ExchangeInfo)
_tickers = msgspec.json.Decoder(list[_Ticker])
_klines = msgspec.json.Decoder(list[_Kline])
_error = msgspec.json.Decoder(_Error)

_INTERVAL_MS = {"SECOND": 1000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000}
_BANNED_UNTIL = re.compile(rb"until (\d{13})")
_DEFAULT_RETRY_MS = {429: 60_000, 418: 120_000}


class BinanceDialect:
    """Binance's Spot API v3 and its raw market streams."""

    def __init__(self, row: ExchangeRow) -> None:
        venue = _VENUES[row.name]
        self.quirks = venue.quirks
        self._page = venue.page
        self._weights: Mapping[str, int] = row.api_limits["weights"]

    def _request(self, endpoint: str, path: str, params: Mapping[str, str] | None = None) -> Request:
        return Request(endpoint, path, int(self._weights[endpoint]), params or {})

    # --- REST -------------------------------------------------------------------------------------------
    def time_request(self) -> Request:
        return self._request("time", "/api/v3/time")

    def parse_time(self, body: bytes) -> int:
        return decode_body(_time, body, "time").server_time

    def product_request(self, symbol: str) -> Request:
        return self._request("products", "/api/v3/exchangeInfo", {"symbol": symbol})

    def parse_product(self, body: bytes) -> Product:
        found = decode_body(_info, body, "exchangeInfo").symbols
        if len(found) != 1:
            raise ExchangeUnavailable(f"Not an exchangeInfo reply of one symbol: it names {len(found)}.")
        return _product(found[0], None)

    def products_requests(self) -> Sequence[Request]:
        return (
            self._request("products", "/api/v3/exchangeInfo"),
            self._request("tickers", "/api/v3/ticker/24hr"),
        )

    def parse_products(self, bodies: Sequence[bytes]) -> list[Product]:
        info = decode_body(_info, bodies[0], "exchangeInfo")
        tickers = {t.symbol: t for t in decode_body(_tickers, bodies[1], "24hr ticker")}
        try:
            return [_product(item, tickers.get(item.symbol)) for item in info.symbols]
        except ValueError as error:
            raise ExchangeUnavailable(f"Not a 24hr ticker reply: {error}.") from error

    def candles_request(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Request:
        return self._request(
            "candles",
            "/api/v3/klines",
            {
                "symbol": symbol,
                "interval": timeframe.value,
                "startTime": str(start_ms),
                # The exchange counts its end in.
                "endTime": str(end_ms - 1),
                "limit": str(self.quirks.rest_rows),
            },
        )

    def parse_candles(self, body: bytes, timeframe: Timeframe) -> list[RestCandle]:
        try:
            rows = [
                RestCandle(
                    Candle(k.open_ms, text(k.open), text(k.high), text(k.low), text(k.close), text(k.volume)),
                    k.trades,
                )
                for k in decode_body(_klines, body, "klines")
            ]
        except ValueError as error:
            raise ExchangeUnavailable(f"Not a klines reply: {error}.") from error
        rows.sort(key=lambda row: row.candle.open_ms)
        return rows

    def budget_rule(self, bodies: Sequence[bytes]) -> BudgetRule | None:
        """REQUEST_WEIGHT, lowered where RAW_REQUESTS is the tighter one (a call weighs at least 1)."""
        limits = decode_body(_info, bodies[0], "exchangeInfo").limits
        weight = next((limit for limit in limits if limit.kind == "REQUEST_WEIGHT"), None)
        if weight is None:
            return None
        window_ms = _INTERVAL_MS[weight.interval] * weight.count
        capacity = weight.limit
        for raw in limits:
            if raw.kind == "RAW_REQUESTS":
                raw_window = _INTERVAL_MS[raw.interval] * raw.count
                capacity = min(capacity, raw.limit * window_ms // raw_window)
        return BudgetRule(capacity, window_ms)

    def feedback(self, status: int, headers: Mapping[str, str], body: bytes) -> BudgetFeedback:
        used = headers.get("x-mbx-used-weight-1m", "")
        retry_after = _closed_ms(status, headers, body) if status in (418, 429) else None
        return BudgetFeedback(used=int(used) if used.isdigit() else None, retry_after_ms=retry_after)

    def error_code(self, status: int, body: bytes) -> str:
        try:
            error = _error.decode(body)
        except msgspec.DecodeError:
            return ""
        return f"{error.code} {error.msg}".strip()

    # --- WebSocket --------------------------------------------------------------------------------------
    def stream_url(self, ws_url: str) -> str:
        return ws_url.rstrip("/") + "/ws"

    def subscribe(self, symbols: Sequence[str], timeframes: Sequence[Timeframe], first_id: int) -> list[str]:
        return list(self._messages("SUBSCRIBE", symbols, timeframes, first_id))

    def unsubscribe(
        self, symbols: Sequence[str], timeframes: Sequence[Timeframe], first_id: int
    ) -> list[str]:
        return list(self._messages("UNSUBSCRIBE", symbols, timeframes, first_id))

    def _messages(
        self, method: str, symbols: Sequence[str], timeframes: Sequence[Timeframe], first_id: int
    ) -> Iterator[str]:
        rest = iter(symbols)
        message_id = first_id
        while batch := list(islice(rest, self.quirks.symbols_per_message)):
            streams: list[str] = []
            for symbol in batch:
                name = symbol.lower()
                streams.extend(f"{name}@kline_{timeframe.value}" for timeframe in timeframes)
                streams.append(f"{name}@ticker")
            yield msgspec.json.encode({"method": method, "params": streams, "id": message_id}).decode()
            message_id += 1

    def ping(self, request_id: int) -> str | None:
        return None

    def decoder(self) -> BinanceDecoder:
        return BinanceDecoder()

    def page_url(self, symbol: str) -> str:
        return self._page.format(symbol)


def _product(item: _Symbol, ticker: _Ticker | None) -> Product:
    return Product(
        symbol=item.symbol,
        base=item.base,
        quote=item.quote,
        trading=item.status == "TRADING" and item.spot,
        quote_volume_24h=text_or_none(ticker.quote_volume) if ticker else None,
        trades_24h=ticker.trades if ticker and ticker.trades >= 0 else None,
        price=text_or_none(ticker.last) if ticker else None,
        change_24h_pct=text_or_none(ticker.change) if ticker else None,
        spread_bps=spread_bps(ticker.bid, ticker.ask) if ticker else None,
        depth=_depth(ticker) if ticker else None,
    )


def _depth(ticker: _Ticker) -> float | None:
    """What stands at the best prices, in quote currency; None for a book with an empty side."""
    if spread_bps(ticker.bid, ticker.ask) is None:
        return None
    return float(ticker.bid) * float(ticker.bid_size) + float(ticker.ask) * float(ticker.ask_size)


def _closed_ms(status: int, headers: Mapping[str, str], body: bytes) -> int:
    """Retry-After, else the ban's end in the body measured against the reply's own Date, else a guess."""
    stated = retry_after_ms(headers)
    if stated is not None:
        return stated
    until = _BANNED_UNTIL.search(body)
    if until and "date" in headers:
        try:
            now_ms = int(parsedate_to_datetime(headers["date"]).timestamp() * 1000)
        except ValueError:
            return _DEFAULT_RETRY_MS[status]
        return max(1000, int(until[1]) - now_ms)
    return _DEFAULT_RETRY_MS[status]
