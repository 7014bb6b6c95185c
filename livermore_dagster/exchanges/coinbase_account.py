"""The account language of Coinbase Advanced: a CDP token per request, orders, fills, fee tier, balances."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlencode, urlsplit

import msgspec

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.exchanges.account_contract import (
    AccountPage,
    Credentials,
    PageCursor,
    SecretHeaders,
    SignedRequest,
    Verdict,
)
from livermore_dagster.exchanges.amounts import amount, finite, product_of, quotient, times
from livermore_dagster.exchanges.coinbase import CoinbaseDialect
from livermore_dagster.exchanges.coinbase_stream import utc_ms
from livermore_dagster.exchanges.coinbase_token import coinbase_token, signing_key
from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule, Request
from livermore_dagster.exchanges.wire import decode_body
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.trades import AsideEntry, Balance, FeeTier, Fill, Liquidity, Order, Side

__all__ = ["HOURLY_BUDGET", "SECOND_BUDGET", "CoinbaseAccountDialect"]

# Secondary sources only tell of 30 a second and user, one of 10,000 an hour and key: less than both.
SECOND_BUDGET = BudgetRule(20, 1000)
HOURLY_BUDGET = BudgetRule(9000, 3_600_000)

_API = "/api/v3/brokerage"
_BALANCE_ROWS = 250
_EXECUTION = "FILL"
"""The only trade type whose part in a total is documented: not that of REVERSAL, CORRECTION, SYNTHETIC."""
_SPOT = "SPOT"
"""Contracts are counted otherwise than coins: what a future's size and value are is not known here."""
_ENDED = ("CANCELLED", "EXPIRED", "FAILED")
"""Nothing comes of such an order any more; cancelled without a fill it is never `settled`."""
_LIQUIDITY = {"MAKER": Liquidity.MAKER, "TAKER": Liquidity.TAKER}


class _Order(msgspec.Struct, gc=False):
    order_id: str
    product_id: str
    side: str
    status: str
    created_time: str
    filled_size: str
    average_filled_price: str
    filled_value: str
    total_fees: str
    number_of_fills: str
    settled: bool
    order_type: str = "UNKNOWN_ORDER_TYPE"
    product_type: str = _SPOT
    last_fill_time: str | None = None


class _Orders(msgspec.Struct):
    orders: list[_Order]
    has_next: bool
    cursor: str


class _Fill(msgspec.Struct, gc=False):
    entry_id: str
    order_id: str
    product_id: str
    trade_time: str
    trade_type: str
    price: str
    size: str
    commission: str
    size_in_quote: bool
    side: str
    liquidity_indicator: str


class _Fills(msgspec.Struct):
    fills: list[_Fill]
    cursor: str


class _Tier(msgspec.Struct, gc=False):
    pricing_tier: str
    taker_fee_rate: str
    maker_fee_rate: str
    usd_from: str = ""
    usd_to: str = ""


class _Summary(msgspec.Struct, gc=False):
    """The two totals are JSON numbers with more digits than a float keeps."""

    fee_tier: _Tier
    total_volume: Decimal
    total_fees: Decimal


class _Money(msgspec.Struct, gc=False):
    value: str
    currency: str


class _Account(msgspec.Struct, gc=False):
    currency: str
    available_balance: _Money
    hold: _Money


class _Accounts(msgspec.Struct):
    accounts: list[_Account]
    has_next: bool
    cursor: str


_orders = msgspec.json.Decoder(_Orders)
_fills = msgspec.json.Decoder(_Fills)
_summary = msgspec.json.Decoder(_Summary)
_accounts = msgspec.json.Decoder(_Accounts)


class CoinbaseAccountDialect:
    """Orders and fills come newest first, for the whole account. Fees are in the product's quote currency."""

    by_market = False
    tiers_by_market = False
    page_rows = 100
    skewable = True

    def __init__(self, row: ExchangeRow) -> None:
        self._public = CoinbaseDialect(row)
        self._host = urlsplit(row.rest_url).netloc

    # --- signing ----------------------------------------------------------------------------------------
    def check_credentials(self, credentials: Credentials) -> None:
        signing_key(credentials)

    def sign(self, request: Request, credentials: Credentials, now_ms: int) -> SignedRequest:
        uri = f"{request.method} {self._host}{request.path}"
        token = coinbase_token(credentials, now_ms, uri)
        headers = SecretHeaders({"authorization": f"Bearer {token}"})
        return SignedRequest(request.path, urlencode(request.params), headers)

    def verdict(self, status: int, code: str) -> Verdict:
        """401 also for a token whose time is wrong; 403, with a reason, for a key that may not look at this.

        A 403 without one is of the guard before the exchange.
        """
        return Verdict.CREDENTIALS if status == 401 or (status == 403 and code) else Verdict.OTHER

    def feedback(self, status: int, headers: Mapping[str, str], body: bytes) -> BudgetFeedback:
        return self._public.feedback(status, headers, body)

    def error_code(self, status: int, body: bytes) -> str:
        return self._public.error_code(status, body)

    # --- reads ------------------------------------------------------------------------------------------
    def check_request(self) -> Request:
        return Request("account_check", f"{_API}/accounts", 1, {"limit": "1"})

    def orders_request(self, cursor: PageCursor) -> Request:
        """Every spot order, whatever became of it; `since_ms` and `until_ms` limit by creation."""
        params = self._page_params(cursor, "start_date")
        if cursor.until_ms is not None:
            params["end_date"] = _rfc3339(cursor.until_ms)
        return Request("orders", f"{_API}/orders/historical/batch", 1, params)

    def _page_params(self, cursor: PageCursor, start: str) -> dict[str, str]:
        params = {"limit": str(self.page_rows)}
        if cursor.market is not None:
            params["product_ids"] = cursor.market
        if cursor.since_ms is not None:
            params[start] = _rfc3339(cursor.since_ms)
        if cursor.token:
            params["cursor"] = cursor.token
        return params

    def parse_orders(self, body: bytes, cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        page = decode_body(_orders, body, "historical orders")
        following = _next_page(cursor, page.cursor, page.has_next, len(page.orders), "orders")
        try:
            orders = [
                _order(item, product_of(item.product_id, products))
                for item in page.orders
                if item.product_type == _SPOT
            ]
        except ValueError as error:
            raise ExchangeUnavailable(f"Not an orders reply: {error}.") from error
        return AccountPage(orders=orders, next=following)

    def fills_request(self, cursor: PageCursor) -> Request:
        """`since_ms` limits by the time of the fill's sequence."""
        params = self._page_params(cursor, "start_sequence_timestamp")
        return Request("fills", f"{_API}/orders/historical/fills", 1, params)

    def parse_fills(self, body: bytes, cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        """The end is an empty cursor: this list has no `has_next`. An entry id told twice counts once."""
        page = decode_body(_fills, body, "historical fills")
        following = _next_page(cursor, page.cursor, bool(page.cursor), len(page.fills), "fills")
        fills: dict[str, Fill] = {}
        aside: dict[str, AsideEntry] = {}
        try:
            for item in page.fills:
                if item.trade_type != _EXECUTION:
                    aside[item.entry_id] = _aside(item, item.trade_type)
                    continue
                product = product_of(item.product_id, products)
                if product.product_type == _SPOT:
                    fills[item.entry_id] = _fill(item, product)
                else:
                    aside[item.entry_id] = _aside(item, f"{product.product_type} {item.trade_type}")
        except (ValueError, ArithmeticError) as error:
            raise ExchangeUnavailable(f"Not a fills reply: {error}.") from error
        return AccountPage(fills=list(fills.values()), aside=list(aside.values()), next=following)

    def tier_request(self, market: str | None) -> Request:
        """One tier for all markets."""
        return Request("fee_tier", f"{_API}/transaction_summary", 1, {"product_type": "SPOT"})

    def parse_tier(self, body: bytes, market: str | None) -> FeeTier:
        summary = decode_body(_summary, body, "transaction summary")
        tier = summary.fee_tier
        try:
            return FeeTier(
                name=tier.pricing_tier or _band(tier),
                maker_rate=amount(tier.maker_fee_rate, "maker_fee_rate"),
                taker_rate=amount(tier.taker_fee_rate, "taker_fee_rate"),
                volume_30d=finite(summary.total_volume, "total_volume"),
                fees_30d=finite(summary.total_fees, "total_fees"),
                currency="USD",
            )
        except ValueError as error:
            raise ExchangeUnavailable(f"Not a transaction summary: {error}.") from error

    def balances_request(self, cursor: PageCursor) -> Request:
        params = {"limit": str(_BALANCE_ROWS)} | ({"cursor": cursor.token} if cursor.token else {})
        return Request("balances", f"{_API}/accounts", 1, params)

    def parse_balances(self, body: bytes) -> tuple[list[Balance], PageCursor | None]:
        page = decode_body(_accounts, body, "list of accounts")
        following = _next_page(PageCursor(), page.cursor, page.has_next, len(page.accounts), "accounts")
        try:
            return [_balance(account) for account in page.accounts], following
        except ValueError as error:
            raise ExchangeUnavailable(f"Not an accounts reply: {error}.") from error


def _next_page(cursor: PageCursor, token: str, more: bool, rows: int, what: str) -> PageCursor | None:
    """Where the list goes on. Raises ExchangeUnavailable where it would go on for ever or be cut short."""
    if not more:
        return None
    if not token:
        raise ExchangeUnavailable(f"Not a whole {what} reply: has_next without a cursor.")
    if rows == 0:
        raise ExchangeUnavailable(f"Not a whole {what} reply: no rows, but a cursor to more.")
    if token == cursor.token:
        raise ExchangeUnavailable(f"Not a whole {what} reply: its cursor is the one that was asked with.")
    return PageCursor(cursor.market, token, cursor.since_ms, cursor.until_ms)


def _order(item: _Order, product: Product) -> Order:
    created_ms = utc_ms(item.created_time)
    filled = amount(item.filled_size, "filled_size")
    return Order(
        order_id=item.order_id,
        symbol=item.product_id,
        base=product.base,
        quote=product.quote,
        side=Side(item.side),
        order_type=item.order_type,
        status=item.status,
        created_ms=created_ms,
        updated_ms=utc_ms(item.last_fill_time) if item.last_fill_time else created_ms,
        filled_size=filled,
        filled_value=amount(item.filled_value, "filled_value"),
        average_price=amount(item.average_filled_price, "average_filled_price") if filled else None,
        # `fee` is an empty string in every body seen; `total_fees` is what was charged.
        fee=amount(item.total_fees, "total_fees"),
        fee_currency=product.quote,
        fill_count=int(item.number_of_fills),
        settled=item.settled or item.status in _ENDED,
    )


def _fill(item: _Fill, product: Product) -> Fill:
    price = amount(item.price, "price")
    told = amount(item.size, "size")
    size, value = (quotient(told, price), told) if item.size_in_quote else (told, times(told, price))
    return Fill(
        fill_id=item.entry_id,
        order_id=item.order_id,
        symbol=item.product_id,
        base=product.base,
        quote=product.quote,
        side=Side(item.side),
        filled_ms=utc_ms(item.trade_time),
        price=price,
        size=size,
        value=value,
        fee=amount(item.commission, "commission"),
        fee_currency=product.quote,
        liquidity=_LIQUIDITY.get(item.liquidity_indicator, Liquidity.UNKNOWN),
    )


def _aside(item: _Fill, trade_type: str) -> AsideEntry:
    return AsideEntry(
        entry_id=item.entry_id,
        order_id=item.order_id,
        symbol=item.product_id,
        trade_type=trade_type,
        side=item.side,
        traded_ms=utc_ms(item.trade_time),
        price=item.price,
        size=item.size,
        commission=item.commission,
    )


def _balance(account: _Account) -> Balance:
    for money in (account.available_balance, account.hold):
        if money.currency != account.currency:
            raise ValueError(f"a {account.currency} account holds {money.currency!r}")
    return Balance(
        account.currency,
        amount(account.available_balance.value, "available_balance.value"),
        amount(account.hold.value, "hold.value"),
    )


def _band(tier: _Tier) -> str:
    """What a tier without a name is called: its band of 30-day volume."""
    return (
        f"USD {tier.usd_from or '0'} to {tier.usd_to}"
        if tier.usd_to
        else f"USD {tier.usd_from or '0'} and more"
    )


def _rfc3339(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
