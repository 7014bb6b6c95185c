"""Coinbase's signed endpoints: orders, fills, balances, fee tier, products."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
from aiohttp import web

from livermore_dagster.simulator.accounts.book import CANCELLED, FILLED, OPEN, Book
from livermore_dagster.simulator.accounts.coinbase_texts import CoinbaseTexts, moment
from livermore_dagster.simulator.accounts.directory import Account, Accounts
from livermore_dagster.simulator.accounts.draw import Ints
from livermore_dagster.simulator.accounts.keys import account_uuid
from livermore_dagster.simulator.accounts.paging import PageFaults
from livermore_dagster.simulator.accounts.signatures import (
    NotSigned,
    coinbase_caller,
    key_name_of,
    signing_now_ms,
    unauthorized,
)
from livermore_dagster.simulator.accounts.tiers import TIERS
from livermore_dagster.simulator.coinbase_rest import CoinbaseRest
from livermore_dagster.simulator.limits import RequestBucket
from livermore_dagster.simulator.rest import Reply

__all__ = ["CoinbaseAccounts"]

_PREFIX = "/api/v3/brokerage"
_STATUSES = {"FILLED": FILLED, "CANCELLED": CANCELLED, "OPEN": OPEN}
_FIAT = frozenset({"USD", "EUR", "GBP"})
_Answer = Callable[[web.Request, Account, Book], Awaitable[Any]]


class CoinbaseAccounts:
    """Routes of the private interface; each key has a budget of its own."""

    def __init__(self, rest: CoinbaseRest, accounts: Accounts, pages: PageFaults) -> None:
        self.rest, self.accounts, self.pages = rest, accounts, pages
        self._buckets: dict[str, RequestBucket] = {}
        self._texts: dict[str, CoinbaseTexts] = {}

    def routes(self) -> list[web.RouteDef]:
        table: tuple[tuple[str, _Answer], ...] = (
            ("orders/historical/batch", self._orders),
            ("orders/historical/fills", self._fills),
            ("orders/historical/{id}", self._order),
            ("accounts", self._accounts),
            ("transaction_summary", self._summary),
            ("key_permissions", self._permissions),
            ("products", self._products),
            ("products/{id}", self._product),
        )
        return [
            web.get(f"{_PREFIX}/{path}", self.rest.door("account", self._signed(answer), self._bucket))
            for path, answer in table
        ]

    def texts(self, account: Account) -> CoinbaseTexts:
        found = self._texts.get(account.name)
        if found is None:
            found = CoinbaseTexts(self.accounts.venue.seed, account.name, account.user_id)
            self._texts[account.name] = found
        return found

    def _bucket(self, request: web.Request) -> RequestBucket:
        """Of the key the request claims; of one of nobody's, all strangers share."""
        key = key_name_of(_token(request))
        account = self.accounts.with_key(key)
        name = account.name if account else ""
        rate = self.rest.private_rate
        bucket = self._buckets.setdefault(name, RequestBucket(rate, rate))
        bucket.rate = bucket.burst = rate
        return bucket

    def _signed(self, answer: _Answer) -> Callable[[web.Request], Awaitable[Any]]:
        async def whole(request: web.Request) -> Any:
            try:
                if self.pages.is_revoked():
                    raise unauthorized("revoked")
                uri = f"{request.method} {request.host}{request.path}"
                now_s = signing_now_ms(self.rest.faults) / 1000
                account = coinbase_caller(self.accounts, _token(request), uri, now_s)
                return await answer(request, account, await account.opened(self.accounts.venue))
            except NotSigned as refused:
                return refused.reply
            except _Bad as bad:
                return Reply(
                    {"error": "INVALID_ARGUMENT", "error_details": str(bad), "message": str(bad)}, 400
                )

        return whole

    # --- orders -----------------------------------------------------------------------------------------
    async def _orders(self, request: web.Request, account: Account, book: Book) -> Any:
        limit, cursor = _whole(request, "limit", 100, 1000), request.query.get("cursor", "")

        async def page() -> dict[str, Any]:
            rows = _below(self._chosen_orders(request, book), cursor)[-limit:][::-1]
            texts = self.texts(account)
            # There may be more whenever the page is full: the last page can be empty.
            more = len(rows) == limit
            return {
                "orders": [texts.order(book.order(index)) for index in rows.tolist()],
                "sequence": "0",
                "has_next": more,
                "cursor": str(int(rows[-1])) if more else "",
            }

        return await self.pages.page(account, "orders", page, cursor)

    def _chosen_orders(self, request: web.Request, book: Book) -> Ints:
        query, orders = request.query, book.orders
        chosen = np.ones(book.order_count, dtype=np.bool_)
        products = query.getall("product_ids", [])
        if products:
            codes = [code for code, item in enumerate(book.listings) if item.symbol in products]
            chosen &= np.isin(orders.symbol, codes)
        statuses = query.getall("order_status", [])
        unknown = sorted(set(statuses) - set(_STATUSES))
        if unknown:
            raise _Bad(f"order_status argument is invalid: {unknown[0]}")
        if statuses:
            chosen &= np.isin(orders.status, [_STATUSES[status] for status in statuses])
        if "order_side" in query:
            chosen &= orders.sell == (query["order_side"] == "SELL")
        start, end = _time(request, "start_date"), _time(request, "end_date")
        if start is not None:
            chosen &= orders.created >= start
        if end is not None:
            chosen &= orders.created < end
        return np.flatnonzero(chosen)

    async def _order(self, request: web.Request, account: Account, book: Book) -> Any:
        texts = self.texts(account)
        index = texts.index_of("order", request.match_info["id"])
        if index is None or index >= book.order_count:
            text = "order with this orderID was not found"
            return Reply({"error": "NOT_FOUND", "error_details": text, "message": text}, 404)
        return {"order": texts.order(book.order(index))}

    async def _fills(self, request: web.Request, account: Account, book: Book) -> Any:
        limit, cursor = _whole(request, "limit", 100, 1000), request.query.get("cursor", "")

        async def page() -> dict[str, Any]:
            rows = _below(self._chosen_fills(request, account, book), cursor)[-limit:][::-1]
            texts = self.texts(account)
            return {
                "fills": [
                    texts.fill(book.fill(index), book.trade_types.get(index, "FILL"))
                    for index in rows.tolist()
                ],
                "cursor": str(int(rows[-1])) if len(rows) == limit else "",
            }

        return await self.pages.page(account, "fills", page, cursor)

    def _chosen_fills(self, request: web.Request, account: Account, book: Book) -> Ints:
        query, orders = request.query, book.orders
        first, last = 0, book.fill_count
        start, end = _time(request, "start_sequence_timestamp"), _time(request, "end_sequence_timestamp")
        if start is not None:
            first = int(np.searchsorted(orders.fill_at, start))
        if end is not None:
            last = int(np.searchsorted(orders.fill_at, end, side="right"))
        chosen = np.arange(first, max(first, last))
        wanted = [*query.getall("order_ids", []), *query.getall("order_id", [])]
        if wanted:
            texts = self.texts(account)
            of_orders = [texts.index_of("order", text) for text in wanted]
            chosen = chosen[np.isin(orders.fill_order[chosen], [x for x in of_orders if x is not None])]
        products = [*query.getall("product_ids", []), *query.getall("product_id", [])]
        if products:
            codes = [code for code, item in enumerate(book.listings) if item.symbol in products]
            chosen = chosen[np.isin(orders.symbol[orders.fill_order[chosen]], codes)]
        return chosen

    # --- account ----------------------------------------------------------------------------------------
    async def _accounts(self, request: web.Request, account: Account, book: Book) -> Any:
        limit, cursor = _whole(request, "limit", 49, 250), request.query.get("cursor", "")

        async def page() -> dict[str, Any]:
            wallets = [
                (self._wallet_id(account, currency), currency, amounts)
                for currency, amounts in book.balances().items()
            ]
            ids = [wallet[0] for wallet in wallets]
            if cursor and cursor not in ids:
                raise _Bad("cursor argument is invalid")
            first = ids.index(cursor) + 1 if cursor else 0
            shown = wallets[first : first + limit]
            more = len(shown) == limit
            return {
                "accounts": [self._wallet(account, *wallet) for wallet in shown],
                "has_next": more,
                "cursor": shown[-1][0] if more else "",
                "size": len(shown),
            }

        return await self.pages.page(account, "accounts", page, cursor)

    def _wallet_id(self, account: Account, currency: str) -> str:
        return account_uuid(self.accounts.venue.seed, "coinbase", account.name, "wallet", currency)

    def _wallet(
        self, account: Account, wallet_id: str, currency: str, amounts: tuple[Decimal, Decimal]
    ) -> dict[str, Any]:
        available, hold = ({"value": f"{amount:.16f}", "currency": currency} for amount in amounts)
        opened = moment(self.accounts.venue.clock.origin_ms - account.sizes.days * 86_400_000)
        return {
            "uuid": wallet_id,
            "name": f"{currency} Wallet",
            "currency": currency,
            "available_balance": available,
            "default": True,
            "active": True,
            "created_at": opened,
            "updated_at": opened,
            "deleted_at": None,
            "type": "ACCOUNT_TYPE_FIAT" if currency in _FIAT else "ACCOUNT_TYPE_CRYPTO",
            "ready": True,
            "hold": hold,
            "retail_portfolio_id": account.user_id,
            "platform": "ACCOUNT_PLATFORM_CONSUMER",
        }

    async def _summary(self, request: web.Request, _: Account, book: Book) -> dict[str, Any]:
        now = self.accounts.venue.clock.now_ms()
        volume, fees = (float(amount) for amount in book.month(now))
        tiers, tier = TIERS["coinbase"], book.tier(now)
        following = tiers[tiers.index(tier) + 1 :]
        return {
            "total_volume": volume,
            "total_fees": fees,
            "fee_tier": {
                "pricing_tier": tier.name,
                "usd_from": str(tier.from_usd),
                "usd_to": str(following[0].from_usd) if following else "",
                "taker_fee_rate": _rate(tier.taker_ppm),
                "maker_fee_rate": _rate(tier.maker_ppm),
            },
            "margin_rate": None,
            "goods_and_services_tax": None,
            "advanced_trade_only_volume": volume,
            "advanced_trade_only_fees": fees,
            "coinbase_pro_volume": 0,
            "coinbase_pro_fees": 0,
            "total_balance": "",
            "has_promo_fee": False,
        }

    async def _permissions(self, _: web.Request, account: Account, __: Book) -> dict[str, Any]:
        return {
            "can_view": True,
            "can_trade": False,
            "can_transfer": False,
            "portfolio_uuid": account.user_id,
            "portfolio_type": "DEFAULT",
        }

    async def _products(self, request: web.Request, _: Account, __: Book) -> Any:
        return await self.rest.products(request)

    async def _product(self, request: web.Request, _: Account, __: Book) -> Any:
        return await self.rest.product(request)


class _Bad(Exception):
    """An argument the exchange refuses."""


def _token(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def _below(rows: Ints, cursor: str) -> Ints:
    """Rows older than the one the cursor names: rows that came since do not shift a page."""
    if not cursor:
        return rows
    if not cursor.isdecimal() or len(cursor) > 15:
        raise _Bad("cursor argument is invalid")
    return rows[: int(np.searchsorted(rows, int(cursor)))]


def _whole(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name)
    if not text:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= 10**9:
        raise _Bad(f"{name} argument is invalid")
    return min(int(text), most)


def _time(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise _Bad(f"{name} argument is invalid") from None
    if parsed.tzinfo is None:
        raise _Bad(f"{name} argument is invalid: no time zone")
    return round(parsed.timestamp() * 1000)


def _rate(ppm: int) -> str:
    return f"{Decimal(ppm).scaleb(-6).normalize():f}"
