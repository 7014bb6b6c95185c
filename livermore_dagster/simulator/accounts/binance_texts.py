"""An account's orders and trades as Binance writes them, over REST and in its user data stream."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from livermore_dagster.simulator.accounts.book import (
    CANCELLED,
    MAKER,
    MARKET,
    OPEN,
    QUOTE,
    Book,
    FillRow,
    OrderRow,
)
from livermore_dagster.simulator.accounts.keys import account_uuid

__all__ = ["account_position", "amount8", "execution_report", "order_body", "trade_body"]

_ZERO = "0.00000000"


def amount8(amount: Decimal) -> str:
    """Eight places, as Binance writes every amount."""
    return f"{amount:.8f}"


def order_body(seed: int, exchange: str, account: str, order: OrderRow) -> dict[str, Any]:
    """One of GET /api/v3/allOrders."""
    return {
        "symbol": order.listing.symbol,
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": _client_id(seed, exchange, account, order),
        "price": amount8(order.limit),
        "origQty": amount8(order.size),
        "executedQty": amount8(order.filled),
        "origQuoteOrderQty": amount8(_quote_quantity(order)),
        "cummulativeQuoteQty": amount8(order.value),
        "status": _status(order),
        "timeInForce": "GTC",
        "type": _type(order),
        "side": order.side,
        "stopPrice": _ZERO,
        "icebergQty": _ZERO,
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": True,
        "workingTime": order.created_ms,
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def trade_body(fill: FillRow, order_number: int) -> dict[str, Any]:
    """One of GET /api/v3/myTrades."""
    return {
        "symbol": fill.listing.symbol,
        "id": fill.number,
        "orderId": order_number,
        "orderListId": -1,
        "price": amount8(fill.price),
        "qty": amount8(fill.size),
        "quoteQty": amount8(fill.value),
        "commission": amount8(fill.fee),
        "commissionAsset": fill.fee_currency,
        "time": fill.at_ms,
        "isBuyer": not fill.sell,
        "isMaker": fill.maker,
        "isBestMatch": True,
    }


def execution_report(
    seed: int, exchange: str, account: str, order: OrderRow, fill: FillRow | None, what: str, now_ms: int
) -> dict[str, Any]:
    """An `executionReport`; `what` is NEW, TRADE or CANCELED."""
    traded = fill if what == "TRADE" else None
    is_new = what == "NEW"
    return {
        "e": "executionReport",
        "E": now_ms,
        "s": order.listing.symbol,
        "c": _client_id(seed, exchange, account, order),
        "S": order.side,
        "o": _type(order),
        "f": "GTC",
        "q": amount8(order.size),
        "p": amount8(order.limit),
        "P": _ZERO,
        "F": _ZERO,
        "g": -1,
        "C": "",
        "x": what,
        "X": "NEW" if is_new else _status(order),
        "r": "NONE",
        "i": order.number,
        "l": amount8(traded.size) if traded else _ZERO,
        "z": _ZERO if is_new else amount8(order.filled),
        "L": amount8(traded.price) if traded else _ZERO,
        "n": amount8(traded.fee) if traded else "0",
        "N": traded.fee_currency if traded else None,
        "T": now_ms,
        "t": traded.number if traded else -1,
        "v": 3,
        "I": order.number * 2 + 1,
        "w": order.status == OPEN,
        "m": bool(traded and traded.maker),
        "M": traded is not None,
        "O": order.created_ms,
        "Z": _ZERO if is_new else amount8(order.value),
        "Y": amount8(traded.value) if traded else _ZERO,
        "Q": amount8(_quote_quantity(order)),
        "W": order.created_ms,
        "V": "EXPIRE_MAKER",
    }


def account_position(book: Book, assets: set[str], now_ms: int) -> dict[str, Any]:
    """An `outboundAccountPosition` of the assets that may have changed."""
    return {
        "e": "outboundAccountPosition",
        "E": now_ms,
        "u": now_ms,
        "B": [
            {"a": asset, "f": amount8(free), "l": amount8(locked)}
            for asset, (free, locked) in book.balances().items()
            if asset in assets
        ],
    }


def _client_id(seed: int, exchange: str, account: str, order: OrderRow) -> str:
    return account_uuid(seed, exchange, account, "client", order.index).replace("-", "")[:22]


def _quote_quantity(order: OrderRow) -> Decimal:
    """What a market order was to spend; 0 for one by size."""
    return order.value if order.kind == QUOTE and not order.sell else Decimal(0)


def _status(order: OrderRow) -> str:
    if order.status == OPEN:
        return "PARTIALLY_FILLED" if order.filled else "NEW"
    if order.status == CANCELLED:
        return "EXPIRED" if order.kind in (MARKET, QUOTE) else "CANCELED"
    return "FILLED"


def _type(order: OrderRow) -> str:
    return {MARKET: "MARKET", QUOTE: "MARKET", MAKER: "LIMIT_MAKER"}.get(order.kind, "LIMIT")
