"""The language of Coinbase Advanced: public market data over REST, 5m candles over WebSocket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.exchanges.coinbase_stream import CoinbaseDecoder
from livermore_dagster.exchanges.contract import (
    BudgetFeedback,
    BudgetRule,
    Quirks,
    Request,
    RestCandle,
)
from livermore_dagster.exchanges.wire import decode_body, product_text, retry_after_ms, text, text_or_none
from livermore_dagster.market.candle import Candle
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["CoinbaseDialect"]

_GRANULARITY = {
    Timeframe.M1: "ONE_MINUTE",
    Timeframe.M5: "FIVE_MINUTE",
    Timeframe.M15: "FIFTEEN_MINUTE",
    Timeframe.H1: "ONE_HOUR",
    Timeframe.H4: "FOUR_HOUR",
    Timeframe.D1: "ONE_DAY",
}

_QUIRKS = Quirks(
    closed_flag=False,
    # 350 by today's page, 300 by older ones and by a maintained client's tests: the smaller always works.
    rest_rows=300,
    rest_fills_empty=False,
    grace_ms=1500,
    symbols_per_connection=200,
    # 8 unauthenticated messages a second are allowed.
    client_messages_per_s=6.0,
    lifetime_s=None,
    client_ping_s=None,
    # 10 a second by secondary sources only; the exchange states no limit at start.
    budget=BudgetRule(8, 1000),
    symbols_per_message=100,
    heartbeats=True,
)

_DEFAULT_RETRY_MS = 5_000


class _Time(msgspec.Struct, gc=False):
    millis: str = msgspec.field(name="epochMillis")


class _Product(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="product_id")
    base: str = msgspec.field(name="base_currency_id")
    quote: str = msgspec.field(name="quote_currency_id")
    status: str = ""
    price: str = ""
    volume: str = msgspec.field(name="volume_24h", default="")
    quote_volume: str = msgspec.field(name="approximate_quote_24h_volume", default="")
    change: str = msgspec.field(name="price_percentage_change_24h", default="")
    alias: str = ""
    alias_to: list[str] = []
    is_disabled: bool = False
    trading_disabled: bool = False
    cancel_only: bool = False
    auction_mode: bool = False
    view_only: bool = False
    product_type: str = "SPOT"


class _Products(msgspec.Struct):
    products: list[_Product]


class _Candle(msgspec.Struct, gc=False):
    start: str
    low: str
    high: str
    open: str
    close: str
    volume: str


class _Candles(msgspec.Struct):
    candles: list[_Candle]


class _Error(msgspec.Struct, gc=False):
    error: str = ""
    error_details: str = ""
    message: str = ""


_time = msgspec.json.Decoder(_Time)
_one_product = msgspec.json.Decoder(_Product)
_products = msgspec.json.Decoder(_Products)
_candles = msgspec.json.Decoder(_Candles)
_error = msgspec.json.Decoder(_Error)

_MARKET = "/api/v3/brokerage/market/products"


class CoinbaseDialect:
    """Coinbase Advanced Trade v3, the public endpoints, and its market data socket."""

    quirks = _QUIRKS

    def __init__(self, row: ExchangeRow) -> None:
        self._weights: Mapping[str, int] = row.api_limits["weights"]

    def _request(self, endpoint: str, path: str, params: Mapping[str, str] | None = None) -> Request:
        return Request(endpoint, path, int(self._weights[endpoint]), params or {})

    # --- REST -------------------------------------------------------------------------------------------
    def time_request(self) -> Request:
        return self._request("time", "/api/v3/brokerage/time")

    def parse_time(self, body: bytes) -> int:
        try:
            return int(decode_body(_time, body, "time").millis)
        except ValueError as error:
            raise ExchangeUnavailable(f"Not a time reply: {error}.") from error

    def product_request(self, symbol: str) -> Request:
        return Request("product", f"{_MARKET}/{symbol}", int(self._weights["products"]))

    def parse_product(self, body: bytes) -> Product:
        item = decode_body(_one_product, body, "product")
        try:
            return _product(item, {})
        except (ArithmeticError, ValueError) as error:
            raise ExchangeUnavailable(f"Not a product reply: {error!r}.") from error

    def products_requests(self) -> Sequence[Request]:
        return (self._request("products", _MARKET, {"product_type": "SPOT"}),)

    def parse_products(self, bodies: Sequence[bytes]) -> list[Product]:
        items = decode_body(_products, bodies[0], "products").products
        named = {alias: item.symbol for item in items for alias in item.alias_to}
        try:
            return [_product(item, named) for item in items]
        except (ArithmeticError, ValueError) as error:
            raise ExchangeUnavailable(f"Not a products reply: {error!r}.") from error

    def candles_request(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Request:
        return self._request(
            "candles",
            f"{_MARKET}/{symbol}/candles",
            {
                "start": str(start_ms // 1000),
                # Both edges are counted in, so the end stays short of the next bar.
                "end": str((end_ms - 1) // 1000),
                "granularity": _GRANULARITY[timeframe],
                "limit": str(self.quirks.rest_rows),
            },
        )

    def parse_candles(self, body: bytes, timeframe: Timeframe) -> list[RestCandle]:
        try:
            rows = [RestCandle(_candle(c)) for c in decode_body(_candles, body, "candles").candles]
        except ValueError as error:
            raise ExchangeUnavailable(f"Not a candles reply: {error}.") from error
        # It sends the newest first.
        rows.sort(key=lambda row: row.candle.open_ms)
        return rows

    def budget_rule(self, bodies: Sequence[bytes]) -> BudgetRule | None:
        return None

    def feedback(self, status: int, headers: Mapping[str, str], body: bytes) -> BudgetFeedback:
        # Of the stated limit, not of the part we allow ourselves: what others used is seen at once.
        limit, remaining = (headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining"))
        told = retry_after_ms(headers)
        refused = status in (418, 429)
        return BudgetFeedback(
            used=int(limit) - int(remaining) if limit.isdigit() and remaining.isdigit() else None,
            retry_after_ms=(told or _DEFAULT_RETRY_MS) if refused else None,
            guessed=refused and not told,
        )

    def error_code(self, status: int, body: bytes) -> str:
        """Error, details and message joined: the 4h probe looks for 'granularity argument is invalid'."""
        try:
            error = _error.decode(body)
        except msgspec.DecodeError:
            return ""
        parts = dict.fromkeys((error.error, error.error_details, error.message))
        return ": ".join(part for part in parts if part)

    # --- WebSocket --------------------------------------------------------------------------------------
    def stream_url(self, ws_url: str) -> str:
        return ws_url

    def subscribe(self, symbols: Sequence[str], timeframes: Sequence[Timeframe], first_id: int) -> list[str]:
        """One channel a message. Messages carry no id; the first of a connection asks for heartbeats."""
        messages = list(self._messages("subscribe", symbols, timeframes))
        if first_id <= 1:
            messages.insert(0, _message("subscribe", "heartbeats", ()))
        return messages

    def unsubscribe(
        self, symbols: Sequence[str], timeframes: Sequence[Timeframe], first_id: int
    ) -> list[str]:
        return list(self._messages("unsubscribe", symbols, timeframes))

    def _messages(self, kind: str, symbols: Sequence[str], timeframes: Sequence[Timeframe]) -> Iterator[str]:
        rest = iter(symbols)
        while batch := list(islice(rest, self.quirks.symbols_per_message)):
            if Timeframe.M5 in timeframes:
                yield _message(kind, "candles", batch)
            yield _message(kind, "ticker", batch)

    def ping(self, request_id: int) -> str | None:
        return None

    def decoder(self) -> CoinbaseDecoder:
        return CoinbaseDecoder()

    def page_url(self, symbol: str) -> str:
        return f"https://www.coinbase.com/advanced-trade/spot/{symbol}"


def _candle(c: _Candle) -> Candle:
    return Candle(int(c.start) * 1000, text(c.open), text(c.high), text(c.low), text(c.close), text(c.volume))


def _message(kind: str, channel: str, symbols: Sequence[str]) -> str:
    message: dict[str, object] = {"type": kind, "channel": channel}
    if symbols:
        message["product_ids"] = list(symbols)
    return msgspec.json.encode(message).decode()


def _product(item: _Product, named: Mapping[str, str]) -> Product:
    """`alias` of an alias names the canonical product, whose `alias_to` lists it; either is enough."""
    alias_of = item.alias or (None if item.alias_to else named.get(item.symbol))
    blocked = (
        item.is_disabled or item.trading_disabled or item.cancel_only or item.auction_mode or item.view_only
    )
    return Product(
        symbol=item.symbol,
        base=item.base,
        quote=item.quote,
        trading=item.status == "online" and not blocked,
        alias_of=alias_of if alias_of != item.symbol else None,
        quote_volume_24h=text_or_none(item.quote_volume) or product_text(item.volume, item.price),
        price=text_or_none(item.price),
        change_24h_pct=text_or_none(item.change),
        product_type=item.product_type,
    )
