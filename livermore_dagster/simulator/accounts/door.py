"""The control door's part for accounts: who there is, the truth of their trades, a trade on request."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from aiohttp import web

from livermore_dagster.market.candle import canonical
from livermore_dagster.simulator.accounts.book import CANCELLED, OPEN, Book, CannotTrade
from livermore_dagster.simulator.accounts.coinbase_texts import CoinbaseTexts
from livermore_dagster.simulator.accounts.directory import Account, Accounts
from livermore_dagster.simulator.accounts.draw import Sizes
from livermore_dagster.simulator.accounts.keys import KeyType

__all__ = ["account_door"]

_PARTS = ("orders", "fills", "tier", "balances", "transfers")
_TRADE_TYPES = ("FILL", "REVERSAL", "CORRECTION", "SYNTHETIC")
_ROWS_AT_ONCE = 2000
_KINDS = {0: "MARKET", 1: "MARKET", 2: "LIMIT", 3: "LIMIT"}


def account_door(accounts: Accounts) -> list[web.RouteDef]:
    door = _Door(accounts)
    return [
        web.get("/control/accounts", door.wrap(door.everyone)),
        web.post("/control/accounts", door.wrap(door.create)),
        web.get("/control/account-truth", door.wrap(door.truth)),
        web.post("/control/fill", door.wrap(door.fill)),
    ]


class _Door:
    def __init__(self, accounts: Accounts) -> None:
        self.accounts, self.venue = accounts, accounts.venue
        self._texts: dict[str, CoinbaseTexts] = {}

    def wrap(
        self, answer: Callable[[web.Request], Awaitable[Any]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def door(request: web.Request) -> web.Response:
            try:
                body, status = await answer(request), 200
            except CannotTrade as error:
                body, status = {"error": str(error)}, 400
            return web.Response(
                body=msgspec.json.encode(body), status=status, content_type="application/json"
            )

        return door

    async def everyone(self, _: web.Request) -> dict[str, Any]:
        return {"accounts": [self._shown(account) for account in self.accounts.all()]}

    async def create(self, request: web.Request) -> dict[str, Any]:
        wanted = await _object(request)
        _only(wanted, ("account", "orders", "symbols", "days", "fills_per_order", "key_type"))
        name = wanted.get("account")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
            raise CannotTrade(f"account must be 1 to 40 letters, digits, - or _, not {name!r}")
        given, usual = wanted.get("key_type", KeyType.ES256.value), Sizes()
        if given not in tuple(KeyType):
            raise CannotTrade(f"unknown key_type {given!r}; there are {', '.join(KeyType)}")
        sizes = Sizes(
            orders=int(_number(wanted, "orders", usual.orders, 0, 1_000_000)),
            symbols=int(_number(wanted, "symbols", usual.symbols, 1, 500)),
            days=int(_number(wanted, "days", usual.days, 2, 3000)),
            fills_per_order=_number(wanted, "fills_per_order", usual.fills_per_order, 1, 40),
        )
        return self._shown(self.accounts.create(name, sizes, KeyType(given)))

    def _shown(self, account: Account) -> dict[str, Any]:
        book = account.book
        return {
            "account": account.name,
            "exchange": self.venue.name,
            "key": account.key,
            "secret": account.secret,
            "key_type": account.key_type.value if self.venue.name == "coinbase" else "hmac",
            "drawn": book is not None,
            "orders": None if book is None else book.order_count,
            "fills": None if book is None else book.fill_count,
            "symbols": account.sizes.symbols if book is None else len(book.listings),
        }

    async def truth(self, request: web.Request) -> dict[str, Any]:
        account = self.accounts.named(request.query.get("account", ""))
        part = request.query.get("part")
        if part is not None and part not in _PARTS:
            raise CannotTrade(f"unknown part {part!r}; there are {', '.join(_PARTS)}")
        book = await account.opened(self.venue)
        now = self.venue.clock.now_ms()
        told: dict[str, Any] = {"account": account.name, "exchange": self.venue.name, "now_ms": now}
        for name in _PARTS if part is None else (part,):
            told[name] = await self._part(account, book, name, now)
        return told

    async def _part(self, account: Account, book: Book, part: str, now_ms: int) -> Any:
        match part:
            case "orders":
                return await self._rows(book.order_count, lambda index: self._order(account, book, index))
            case "fills":
                return await self._rows(book.fill_count, lambda index: self._fill(account, book, index))
            case "tier":
                return self._tier(book, now_ms)
            case "balances":
                return [
                    {"currency": currency, "available": _text(available), "hold": _text(hold)}
                    for currency, (available, hold) in book.balances().items()
                ]
            case _:
                return [
                    {"currency": one.currency, "amount": _text(one.amount), "at_ms": one.at_ms}
                    for one in book.transfers
                ]

    async def _rows(self, count: int, row: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
        rows = []
        for index in range(count):
            rows.append(row(index))
            if index % _ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)  # a long history is too much work to keep the sockets waiting
        return rows

    def _tier(self, book: Book, now_ms: int) -> dict[str, Any]:
        tier = book.tier(now_ms)
        volume, fees = book.month(now_ms)
        return {
            "name": tier.name,
            "maker_rate": _text(Decimal(tier.maker_ppm).scaleb(-6)),
            "taker_rate": _text(Decimal(tier.taker_ppm).scaleb(-6)),
            "volume_30d": _text(volume),
            "fees_30d": _text(fees),
            "currency": "USD",
        }

    def _id(self, account: Account, what: str, index: int, number: int) -> str:
        """As the exchange's own interface names it."""
        if self.venue.name != "coinbase":
            return str(number)
        texts = self._texts.get(account.name)
        if texts is None:
            texts = CoinbaseTexts(self.venue.seed, account.name, account.user_id)
            self._texts[account.name] = texts
        return texts.fill_id(index) if what == "fill" else texts.id_of("order", index)

    def _order(self, account: Account, book: Book, index: int) -> dict[str, Any]:
        row = book.order(index)
        return {
            "order_id": self._id(account, "order", index, row.number),
            "symbol": row.listing.symbol,
            "base": row.listing.base,
            "quote": row.listing.quote,
            "side": row.side,
            "order_type": _KINDS[row.kind],
            "status": {OPEN: "open", CANCELLED: "cancelled"}.get(row.status, "filled"),
            "created_ms": row.created_ms,
            "updated_ms": row.updated_ms,
            "size": _text(row.size),
            "filled_size": _text(row.filled),
            "filled_value": _text(row.value),
            "fee": None if row.fee is None else _text(row.fee),
            "fee_currency": None if row.fee is None else row.listing.quote,
            "fills": row.fills,
            "size_in_quote": row.kind == 1 and not row.sell,
        }

    def _fill(self, account: Account, book: Book, index: int) -> dict[str, Any]:
        row = book.fill(index)
        return {
            "fill_id": self._id(account, "fill", index, row.number),
            "order_id": self._id(account, "order", row.order, book.order_number(row.order)),
            "symbol": row.listing.symbol,
            "base": row.listing.base,
            "quote": row.listing.quote,
            "side": row.side,
            "at_ms": row.at_ms,
            "price": _text(row.price),
            "size": _text(row.size),
            "value": _text(row.value),
            "fee": _text(row.fee),
            "fee_currency": row.fee_currency,
            "liquidity": "maker" if row.maker else "taker",
            "rate": _text(row.rate),
            "trade_type": book.trade_types.get(index, "FILL"),
        }

    async def fill(self, request: web.Request) -> dict[str, Any]:
        wanted = await _object(request)
        _only(wanted, ("account", "symbol", "side", "size", "liquidity", "trade_type"))
        account = self.accounts.named(str(wanted.get("account", "")))
        side, liquidity = wanted.get("side"), wanted.get("liquidity", "taker")
        if side not in ("BUY", "SELL"):
            raise CannotTrade(f"side must be BUY or SELL, not {side!r}")
        if liquidity not in ("taker", "maker"):
            raise CannotTrade(f"liquidity must be taker or maker, not {liquidity!r}")
        trade = await self.accounts.trade(
            account,
            str(wanted.get("symbol", "")),
            sell=side == "SELL",
            size=_size(wanted.get("size")),
            maker=liquidity == "maker",
            trade_type=self._trade_type(wanted.get("trade_type", "FILL")),
        )
        book = await account.opened(self.venue)
        fill = None if trade.fill is None else self._fill(account, book, trade.fill)
        return {"order": self._order(account, book, trade.order), "fill": fill}

    def _trade_type(self, given: Any) -> str | None:
        """None for a plain fill."""
        if given not in _TRADE_TYPES:
            raise CannotTrade(f"unknown trade_type {given!r}; there are {', '.join(_TRADE_TYPES)}")
        if given == "FILL":
            return None
        if self.venue.name != "coinbase":
            raise CannotTrade(f"{self.venue.name} has no trade_type but FILL, not {given!r}")
        return str(given)


def _text(amount: Decimal) -> str:
    return canonical(f"{amount:f}")


def _size(given: Any) -> Decimal | None:
    if given is None:
        return None
    try:
        size = Decimal(str(given))
    except InvalidOperation:
        raise CannotTrade(f"size must be a number as text, not {given!r}") from None
    if not size.is_finite():
        raise CannotTrade(f"size must be finite, not {given!r}")
    return size


def _number(wanted: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = wanted.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise CannotTrade(f"{name} must be a number between {low:g} and {high:g}, not {value!r}")
    return float(value)


def _only(wanted: dict[str, Any], names: tuple[str, ...]) -> None:
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise CannotTrade(f"unknown fields {unknown}; there are {', '.join(names)}")


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise CannotTrade(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise CannotTrade("the body must be a JSON object")
    return body
