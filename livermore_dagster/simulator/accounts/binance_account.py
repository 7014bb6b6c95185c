"""Binance's signed account endpoints: trades, orders, balances, commission rates, listen keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from aiohttp import web

from livermore_dagster.simulator.accounts.binance_stream import BinanceUserStream
from livermore_dagster.simulator.accounts.binance_texts import amount8, order_body, trade_body
from livermore_dagster.simulator.accounts.book import Book, OrderRow
from livermore_dagster.simulator.accounts.directory import Account, Accounts
from livermore_dagster.simulator.accounts.draw import Ints
from livermore_dagster.simulator.accounts.paging import PageFaults
from livermore_dagster.simulator.accounts.signatures import (
    NotSigned,
    binance_caller,
    binance_refusal,
    missing,
    signing_now_ms,
    with_api_key,
)
from livermore_dagster.simulator.accounts.tiers import BNB_DISCOUNT_PERCENT
from livermore_dagster.simulator.binance_rest import BinanceRest
from livermore_dagster.simulator.rest import Reply

__all__ = ["BinanceAccounts"]

_DAY_MS = 86_400_000
_MOST_ROWS = 1000
_GONE = (
    "<html>\r\n<head><title>410 Gone</title></head>\r\n<body>\r\n<center><h1>410 Gone</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_SIGNED = Callable[[web.Request, Account, Book], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _Weights:
    account: int
    trades: int
    trades_of_order: int
    orders: int
    listen_key: int


_WEIGHTS = {"binance": _Weights(20, 20, 5, 20, 2), "binance_us": _Weights(10, 10, 10, 10, 1)}


class BinanceAccounts:
    """Routes of one exchange. Signed requests use the weight of the same address as public ones."""

    def __init__(
        self, rest: BinanceRest, accounts: Accounts, pages: PageFaults, stream: BinanceUserStream
    ) -> None:
        self.rest, self.accounts, self.pages, self.stream = rest, accounts, pages, stream
        self._weights = _WEIGHTS[accounts.venue.name]

    def routes(self) -> list[web.RouteDef]:
        weights = self._weights

        def trades_weight(request: web.Request) -> int:
            return weights.trades_of_order if "orderId" in request.query else weights.trades

        def open_weight(request: web.Request) -> int:
            return 6 if "symbol" in request.query else 80

        table: tuple[tuple[str, _SIGNED, Callable[[web.Request], int]], ...] = (
            ("/api/v3/account", self._account, lambda _: weights.account),
            ("/api/v3/account/commission", self._commission, lambda _: weights.account),
            ("/api/v3/myTrades", self._trades, trades_weight),
            ("/api/v3/allOrders", self._orders, lambda _: weights.orders),
            ("/api/v3/openOrders", self._open_orders, open_weight),
        )
        signed = [web.get(path, self.rest.door("account", self._signed(a), w)) for path, a, w in table]
        path = "/api/v3/userDataStream"

        def weigh(_: web.Request) -> int:
            return weights.listen_key

        return [
            *signed,
            web.post(path, self.rest.door("account", self._listen, weigh)),
            web.put(path, self.rest.door("account", self._keep_alive, weigh)),
            web.delete(path, self.rest.door("account", self._stop, weigh)),
        ]

    def _signed(self, answer: _SIGNED) -> Callable[[web.Request], Awaitable[Any]]:
        async def whole(request: web.Request) -> Any:
            try:
                if self.pages.is_revoked():
                    raise binance_refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
                key, query = request.headers.get("X-MBX-APIKEY"), request.rel_url.raw_query_string
                account = binance_caller(self.accounts, key, query, signing_now_ms(self.rest.faults))
                return await answer(request, account, await account.opened(self.accounts.venue))
            except NotSigned as refused:
                return refused.reply

        return whole

    # --- account ----------------------------------------------------------------------------------------
    async def _account(self, request: web.Request, account: Account, book: Book) -> Any:
        omit = request.query.get("omitZeroBalances") == "true"
        tier = book.tier(self.accounts.venue.clock.now_ms())
        rates = _rates(tier.maker_ppm, tier.taker_ppm)

        async def page() -> dict[str, Any]:
            return {
                "makerCommission": tier.maker_ppm // 100,
                "takerCommission": tier.taker_ppm // 100,
                "buyerCommission": 0,
                "sellerCommission": 0,
                "commissionRates": rates,
                "canTrade": False,
                "canWithdraw": False,
                "canDeposit": False,
                "brokered": False,
                "requireSelfTradePrevention": False,
                "preventSor": False,
                "updateTime": self.accounts.venue.clock.now_ms(),
                "accountType": "SPOT",
                "balances": [
                    {"asset": asset, "free": amount8(free), "locked": amount8(locked)}
                    for asset, (free, locked) in book.balances().items()
                    if not omit or free or locked
                ],
                "permissions": ["SPOT"],
                "uid": int(account.user_id[:8], 16),
            }

        return await self.pages.page(account, "account", page)

    async def _commission(self, request: web.Request, _: Account, book: Book) -> dict[str, Any]:
        symbol = self._symbol(request)
        now = self.accounts.venue.clock.now_ms()
        tier, special = book.tier(now), book.special_ppm(symbol)
        maker, taker = special or (tier.maker_ppm, tier.taker_ppm)
        due = 100 - BNB_DISCOUNT_PERCENT[self.accounts.venue.name]
        return {
            "symbol": symbol,
            "standardCommission": _rates(maker, taker),
            "specialCommission": _rates(0, 0),
            "taxCommission": _rates(0, 0),
            "discount": {
                "enabledForAccount": True,
                "enabledForSymbol": True,
                "discountAsset": "BNB",
                "discount": f"0.{due}000000",
            },
        }

    # --- trades and orders ------------------------------------------------------------------------------
    async def _trades(self, request: web.Request, account: Account, book: Book) -> Any:
        symbol, query = self._symbol(request), _numbers(request.query)
        if query.keys() & {"startTime", "endTime"} and query.keys() & {"fromId", "orderId"}:
            raise binance_refusal(-1128, "Combination of optional parameters invalid.")
        _judge_span(query)

        async def page() -> list[dict[str, Any]]:
            _, mine = book.of_symbol(symbol)
            if "orderId" in query:
                orders, _ = book.of_symbol(symbol)
                order = orders[book.order_numbers(orders) == query["orderId"]]
                mine = mine[np.isin(book.orders.fill_order[mine], order)]
            chosen = _cut(mine, book.fill_numbers(mine), book.orders.fill_at[mine], query, "fromId")
            rows = [book.fill(index) for index in chosen.tolist()]
            return [trade_body(fill, book.order_number(fill.order)) for fill in rows]

        return await self.pages.page(account, f"trades:{symbol}", page)

    async def _orders(self, request: web.Request, account: Account, book: Book) -> Any:
        symbol, query = self._symbol(request), _numbers(request.query)
        _judge_span(query)

        async def page() -> list[dict[str, Any]]:
            mine, _ = book.of_symbol(symbol)
            chosen = _cut(mine, book.order_numbers(mine), book.orders.created[mine], query, "orderId")
            return [self._order(account, book.order(index)) for index in chosen.tolist()]

        return await self.pages.page(account, f"orders:{symbol}", page)

    async def _open_orders(self, request: web.Request, account: Account, book: Book) -> Any:
        symbol = self._symbol(request) if "symbol" in request.query else None
        rows = [book.order(index) for index in book.open_orders()]
        return [self._order(account, row) for row in rows if symbol in (None, row.listing.symbol)]

    def _order(self, account: Account, order: OrderRow) -> dict[str, Any]:
        venue = self.accounts.venue
        return order_body(venue.seed, venue.name, account.name, order)

    def _symbol(self, request: web.Request) -> str:
        name = request.query.get("symbol")
        if not name:
            raise missing("symbol")
        if name not in self.accounts.venue.listings:
            raise binance_refusal(-1121, "Invalid symbol.")
        return name

    # --- listen keys ------------------------------------------------------------------------------------
    async def _listen(self, request: web.Request) -> Any:
        return self._with_key(request, lambda account: {"listenKey": self.stream.listen(account)})

    async def _keep_alive(self, request: web.Request) -> Any:
        return self._with_key(request, lambda account: self._held(request, account, self.stream.keep))

    async def _stop(self, request: web.Request) -> Any:
        return self._with_key(request, lambda account: self._held(request, account, self.stream.stop))

    def _with_key(self, request: web.Request, act: Callable[[Account], dict[str, Any]]) -> Any:
        """These need the key and no signature. Binance has had none of them since February 2026."""
        if not self.stream.has_listen_keys:
            return Reply(_GONE, 410, is_html=True)
        try:
            if self.pages.is_revoked():
                raise binance_refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
            return act(with_api_key(self.accounts, request.headers.get("X-MBX-APIKEY")))
        except NotSigned as refused:
            return refused.reply

    def _held(
        self, request: web.Request, account: Account, act: Callable[[Account, str], bool]
    ) -> dict[str, Any]:
        listen_key = request.query.get("listenKey", "")
        if not listen_key:
            raise missing("listenKey")
        if not act(account, listen_key):
            raise binance_refusal(-1125, "This listenKey does not exist.")
        return {}


def _cut(rows: Ints, numbers: Ints, at: Ints, query: Mapping[str, int], from_name: str) -> Ints:
    """From a number or a time on the oldest `limit` rows, otherwise the newest; ascending."""
    limit = min(query.get("limit", 500), _MOST_ROWS)
    if from_name in query:
        return rows[numbers >= query[from_name]][:limit]
    if "startTime" in query:
        end = query.get("endTime", 2**62)
        return rows[(at >= query["startTime"]) & (at <= end)][:limit]
    if "endTime" in query:
        rows = rows[at <= query["endTime"]]
    return rows[-limit:]


def _numbers(query: Mapping[str, str]) -> dict[str, int]:
    found = {}
    for name in ("orderId", "fromId", "startTime", "endTime", "limit"):
        if name not in query:
            continue
        text = query[name]
        if not text.isdecimal() or len(text) > 18:
            raise binance_refusal(
                -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
            )
        found[name] = int(text)
    if found.get("limit") == 0:
        raise binance_refusal(-1130, "Data sent for parameter 'limit' is not valid.")
    return found


def _judge_span(query: Mapping[str, int]) -> None:
    start, end = query.get("startTime"), query.get("endTime")
    if start is None or end is None:
        return
    if start > end:
        raise binance_refusal(-1127, "Start time is greater than end time.")
    if end - start > _DAY_MS:
        raise binance_refusal(-1127, "More than 24 hours between startTime and endTime.")


def _rates(maker_ppm: int, taker_ppm: int) -> dict[str, str]:
    def rate(ppm: int) -> str:
        return amount8(Decimal(ppm).scaleb(-6))

    return {"maker": rate(maker_ppm), "taker": rate(taker_ppm), "buyer": rate(0), "seller": rate(0)}
