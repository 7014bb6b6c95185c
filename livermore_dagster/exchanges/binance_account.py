"""The account language of Binance and Binance.US: HMAC-signed queries, reads by market, paged by id.

Sources: rest-api.md of binance-spot-api-docs (SIGNED and account endpoints) and of binance-us-api-docs.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from urllib.parse import urlencode

import msgspec

from livermore_dagster.errors import BadSetting, ExchangeUnavailable
from livermore_dagster.exchanges.account_contract import (
    AccountPage,
    Credentials,
    PageCursor,
    SecretHeaders,
    SignedRequest,
    Verdict,
)
from livermore_dagster.exchanges.amounts import amount, product_of, total
from livermore_dagster.exchanges.binance import BinanceDialect
from livermore_dagster.exchanges.contract import BudgetFeedback, Request
from livermore_dagster.exchanges.wire import decode_body
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.trades import Balance, FeeTier, Fill, Liquidity, Order, Side

__all__ = ["BinanceAccountDialect", "hmac_signature", "listen_key_request"]

RECEIVE_WINDOW_MS = 5_000
"""How old a signature may be when it arrives; a later time than the exchange's by 1 s is refused as well."""
_FIRST_IDS = {"orderId": 1, "fromId": 0}
"""Where a list begins. An orderId of 0 passes for none at some doors, and the newest orders come."""
_LISTEN_KEY = "listen_key"
_LISTEN_KEY_WEIGHT = 2


@dataclass(frozen=True, slots=True)
class _Venue:
    """What differs between the two: weights of calls, and whether commission is told by symbol."""

    weights: Mapping[str, int]
    commission_by_symbol: bool


_VENUES: Mapping[str, _Venue] = {
    "binance": _Venue({"orders": 20, "fills": 20, "account": 20, "commission": 20}, True),
    "binance_us": _Venue({"orders": 10, "fills": 10, "account": 10}, False),
}

# -2014 and -2015: the key (form, permissions, address); -1022: the signature; -2008: no such key.
_CREDENTIAL_CODES = ("-1022", "-2008", "-2014", "-2015")


class _Order(msgspec.Struct, gc=False):
    symbol: str
    order_id: int = msgspec.field(name="orderId")
    executed: str = msgspec.field(name="executedQty")
    quote_executed: str = msgspec.field(name="cummulativeQuoteQty")
    status: str
    type: str
    side: str
    created_ms: int = msgspec.field(name="time")
    updated_ms: int = msgspec.field(name="updateTime")


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    id: int
    order_id: int = msgspec.field(name="orderId")
    price: str
    size: str = msgspec.field(name="qty")
    value: str = msgspec.field(name="quoteQty")
    commission: str
    commission_asset: str = msgspec.field(name="commissionAsset")
    at_ms: int = msgspec.field(name="time")
    buyer: bool = msgspec.field(name="isBuyer")
    maker: bool = msgspec.field(name="isMaker")


class _Rates(msgspec.Struct, gc=False):
    maker: str
    taker: str
    buyer: str
    seller: str


class _Discount(msgspec.Struct, gc=False):
    for_account: bool = msgspec.field(name="enabledForAccount")
    for_symbol: bool = msgspec.field(name="enabledForSymbol")
    asset: str | None = msgspec.field(name="discountAsset")
    """None where the exchange charges the account nothing (its test network)."""
    share: str | None = msgspec.field(name="discount")
    """What is left to pay of the standard commission: 0.75 is a quarter off (faqs/commission_faq.md)."""


class _Commission(msgspec.Struct, gc=False):
    symbol: str
    standard: _Rates = msgspec.field(name="standardCommission")
    tax: _Rates = msgspec.field(name="taxCommission")
    discount: _Discount
    special: _Rates | None = msgspec.field(name="specialCommission", default=None)


class _Holding(msgspec.Struct, gc=False):
    asset: str
    free: str
    locked: str


class _Account(msgspec.Struct, gc=False):
    rates: _Rates = msgspec.field(name="commissionRates")
    balances: list[_Holding]


_orders = msgspec.json.Decoder(list[_Order])
_trades = msgspec.json.Decoder(list[_Trade])
_commission = msgspec.json.Decoder(_Commission)
_account = msgspec.json.Decoder(_Account)


class BinanceAccountDialect:
    """Rows come oldest first from an id on, so that a read resumes by the next id. Orders tell no fee."""

    by_market = True
    page_rows = 1000
    skewable = False

    def __init__(self, row: ExchangeRow) -> None:
        self._public = BinanceDialect(row)
        self._venue = _VENUES[row.name]
        self.tiers_by_market = self._venue.commission_by_symbol

    # --- signing ----------------------------------------------------------------------------------------
    def check_credentials(self, credentials: Credentials) -> None:
        for what, text in (("key", credentials.key), ("secret", credentials.secret)):
            if not (text.isascii() and text.isprintable()) or " " in text:
                raise BadSetting(
                    f"The {what} is not one of Binance's: spaces, line ends or letters beyond ASCII.",
                    "Livermore signs by HMAC: make a system-generated key, both its texts are 64 letters.",
                )

    def sign(self, request: Request, credentials: Credentials, now_ms: int) -> SignedRequest:
        headers = SecretHeaders({"X-MBX-APIKEY": credentials.key})
        if request.endpoint == _LISTEN_KEY:
            # The key alone: a signature would be a parameter too many.
            return SignedRequest(request.path, urlencode(request.params), headers)
        params = {**request.params, "recvWindow": str(RECEIVE_WINDOW_MS), "timestamp": str(now_ms)}
        query = urlencode(params)
        signature = hmac_signature(credentials, query)
        return SignedRequest(request.path, f"{query}&signature={signature}", headers)

    def verdict(self, status: int, code: str) -> Verdict:
        number = code.partition(" ")[0]
        if number == "-1021":
            return Verdict.CLOCK
        return Verdict.CREDENTIALS if status == 401 or number in _CREDENTIAL_CODES else Verdict.OTHER

    def feedback(self, status: int, headers: Mapping[str, str], body: bytes) -> BudgetFeedback:
        return self._public.feedback(status, headers, body)

    def error_code(self, status: int, body: bytes) -> str:
        return self._public.error_code(status, body)

    # --- reads ------------------------------------------------------------------------------------------
    def _request(self, endpoint: str, name: str, path: str, **params: str) -> Request:
        return Request(endpoint, f"/api/v3/{path}", self._venue.weights[name], params)

    def _page_request(self, endpoint: str, path: str, id_name: str, cursor: PageCursor) -> Request:
        span = {
            "symbol": _market(cursor),
            id_name: cursor.token or str(_FIRST_IDS[id_name]),
            "limit": str(self.page_rows),
        }
        return self._request(endpoint, endpoint, path, **span)

    def check_request(self) -> Request:
        return self._request("account_check", "account", "account")

    def orders_request(self, cursor: PageCursor) -> Request:
        """From an order's id on, that one included. Raises ValueError for a cursor without a market."""
        return self._page_request("orders", "allOrders", "orderId", cursor)

    def parse_orders(self, body: bytes, cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        rows = decode_body(_orders, body, "allOrders")
        following = _next_page(cursor, [(row.symbol, row.order_id) for row in rows], self.page_rows)
        product = product_of(_market(cursor), products)
        try:
            return AccountPage(orders=[_order(row, product) for row in rows], next=following)
        except ValueError as error:
            raise ExchangeUnavailable(f"Not an allOrders reply: {error}.") from error

    def fills_request(self, cursor: PageCursor) -> Request:
        """From a trade's id on, that one included. Raises ValueError for a cursor without a market."""
        return self._page_request("fills", "myTrades", "fromId", cursor)

    def parse_fills(self, body: bytes, cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        rows = decode_body(_trades, body, "myTrades")
        following = _next_page(cursor, [(row.symbol, row.id) for row in rows], self.page_rows)
        product = product_of(_market(cursor), products)
        try:
            return AccountPage(fills=[_fill(row, product) for row in rows], next=following)
        except ValueError as error:
            raise ExchangeUnavailable(f"Not a myTrades reply: {error}.") from error

    def tier_request(self, market: str | None) -> Request:
        """Rates of one market where the exchange tells them so, else those of the account."""
        if market is None or not self._venue.commission_by_symbol:
            return self._request("fee_tier", "account", "account")
        return self._request("fee_tier", "commission", "account/commission", symbol=market)

    def parse_tier(self, body: bytes, market: str | None) -> FeeTier:
        """Standard, special and tax rates together; a discount for paying in another asset is only named."""
        try:
            if market is None or not self._venue.commission_by_symbol:
                return _tier("account", [decode_body(_account, body, "account").rates])
            told = decode_body(_commission, body, "commission")
            discount = told.discount
            name = told.symbol
            if discount.for_account and discount.for_symbol and discount.asset and discount.share:
                share = amount(discount.share, "discount").normalize()
                name += f" (× {share:f} where paid in {discount.asset})"
            return _tier(name, [told.standard, told.tax, *([told.special] if told.special else [])])
        except ValueError as error:
            raise ExchangeUnavailable(f"Not a commission reply: {error}.") from error

    def balances_request(self, cursor: PageCursor) -> Request:
        return self._request("balances", "account", "account")

    def parse_balances(self, body: bytes) -> tuple[list[Balance], PageCursor | None]:
        try:
            return [
                Balance(h.asset, amount(h.free, "free"), amount(h.locked, "locked"))
                for h in decode_body(_account, body, "account").balances
            ], None
        except ValueError as error:
            raise ExchangeUnavailable(f"Not an account reply: {error}.") from error


def hmac_signature(credentials: Credentials, payload: str) -> str:
    """HMAC-SHA256 over exactly what is sent, as hexadecimal digits."""
    return hmac.new(credentials.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def listen_key_request(method: str, key: str | None = None) -> Request:
    """POST makes one, PUT prolongs it."""
    params = {} if key is None else {"listenKey": key}
    return Request(_LISTEN_KEY, "/api/v3/userDataStream", _LISTEN_KEY_WEIGHT, params, method)


def _market(cursor: PageCursor) -> str:
    if cursor.market is None:
        raise ValueError("Binance reads orders and fills by market: name one in the cursor")
    return cursor.market


def _next_page(cursor: PageCursor, rows: Sequence[tuple[str, int]], page_rows: int) -> PageCursor | None:
    """After a full page the next id; None after a short one.

    Raises ExchangeUnavailable for rows of another market, or that do not rise from what was asked: a page
    that does would be read for ever, or would hide what lies between.
    """
    previous = int(cursor.token or 0) - 1
    for symbol, row_id in rows:
        if symbol != cursor.market:
            raise ExchangeUnavailable(f"Asked for {cursor.market}, got a row of {symbol!r}.")
        if row_id <= previous:
            raise ExchangeUnavailable(f"Ids of {symbol} do not rise: {row_id} after {previous}.")
        previous = row_id
    if len(rows) < page_rows:
        return None
    return PageCursor(cursor.market, str(previous + 1), cursor.since_ms)


def _order(row: _Order, product: Product) -> Order:
    value = amount(row.quote_executed, "cummulativeQuoteQty")
    return Order(
        order_id=str(row.order_id),
        symbol=row.symbol,
        base=product.base,
        quote=product.quote,
        side=Side(row.side),
        order_type=row.type,
        status=row.status,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        filled_size=amount(row.executed, "executedQty"),
        # Below 0 the exchange says that it does not know any more (very old orders): its fills tell.
        filled_value=max(value, Decimal(0)),
        average_price=None,
        fee=None,
        fee_currency=None,
        fill_count=None,
        settled=row.status not in ("NEW", "PARTIALLY_FILLED", "PENDING_NEW", "PENDING_CANCEL"),
    )


def _fill(row: _Trade, product: Product) -> Fill:
    return Fill(
        fill_id=str(row.id),
        order_id=str(row.order_id),
        symbol=row.symbol,
        base=product.base,
        quote=product.quote,
        side=Side.BUY if row.buyer else Side.SELL,
        filled_ms=row.at_ms,
        price=amount(row.price, "price"),
        size=amount(row.size, "qty"),
        # The exchange's own figure: price × qty cut to the quote's precision is what it booked.
        value=amount(row.value, "quoteQty"),
        fee=amount(row.commission, "commission"),
        fee_currency=row.commission_asset,
        liquidity=Liquidity.MAKER if row.maker else Liquidity.TAKER,
    )


def _tier(name: str, parts: Sequence[_Rates]) -> FeeTier:
    """The sides' rates are charged beside maker and taker ones; the dearer side is taken."""

    def sum_of(rate: str) -> Decimal:
        return reduce(total, (amount(getattr(part, rate), rate) for part in parts))

    side = max(sum_of("buyer"), sum_of("seller"))
    return FeeTier(name, total(sum_of("maker"), side), total(sum_of("taker"), side), None, None, None)
