"""An account's orders and fills as Coinbase writes them, over REST and on its user channel."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from livermore_dagster.market.candle import canonical
from livermore_dagster.simulator.accounts.book import CANCELLED, MAKER, MARKET, OPEN, QUOTE, FillRow, OrderRow
from livermore_dagster.simulator.noise import key_of

__all__ = ["CoinbaseTexts", "moment", "text_of"]

_STATUS = {OPEN: "OPEN", CANCELLED: "CANCELLED"}
_LOW_BITS = (1 << 48) - 1
_ALL_BITS = (1 << 64) - 1


def text_of(amount: Decimal) -> str:
    """Plain digits without trailing zeros."""
    return canonical(f"{amount:f}")


def moment(at_ms: int) -> str:
    """RFC 3339 in microseconds."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}000Z"


class CoinbaseTexts:
    """The texts of one account: its ids hang on its name."""

    def __init__(self, seed: int, account: str, user_id: str) -> None:
        self._seed, self._account, self.user_id = seed, account, user_id
        self._mask = key_of(seed, "order ids", account) & _LOW_BITS
        self._keys: dict[str, int] = {}

    def id_of(self, what: str, index: int) -> str:
        """A UUID whose last twelve digits hide the index, so that an order can be found by it."""
        key = self._keys.get(what)
        if key is None:
            key = self._keys[what] = key_of(self._seed, "coinbase", self._account, what)
        high, low = _mixed(key + index), _mixed(key - index)
        return (
            f"{high >> 32:08x}-{high >> 16 & 0xFFFF:04x}-4{high & 0xFFF:03x}-{0x8000 | low & 0x3FFF:04x}"
            f"-{(index ^ self._mask) & _LOW_BITS:012x}"
        )

    def index_of(self, what: str, text: str) -> int | None:
        """The index such an id stands for; None for a foreign one."""
        try:
            index = int(text[24:], 16) ^ self._mask
        except ValueError:
            return None
        return index if self.id_of(what, index) == text else None

    def fill_id(self, index: int) -> str:
        """64 hexadecimal digits."""
        first, second = (self.id_of(what, index).replace("-", "") for what in ("entry", "entry's end"))
        return first + second

    # --- orders -----------------------------------------------------------------------------------------
    def order(self, order: OrderRow) -> dict[str, Any]:
        """One of GET orders/historical/batch."""
        fee = order.fee or Decimal(0)
        after = order.value + (-fee if order.sell else fee)
        is_market, in_quote = order.kind in (MARKET, QUOTE), _in_quote(order)
        return {
            "order_id": self.id_of("order", order.index),
            "product_id": order.listing.symbol,
            "user_id": self.user_id,
            "order_configuration": _configuration(order, after),
            "side": order.side,
            "client_order_id": self.id_of("client", order.index),
            "status": _STATUS.get(order.status, "FILLED"),
            "time_in_force": "IMMEDIATE_OR_CANCEL" if is_market else "GOOD_UNTIL_CANCELLED",
            "created_time": moment(order.created_ms),
            "completion_percentage": text_of(round(order.filled * 100 / order.size, 2)),
            "filled_size": text_of(order.filled),
            "average_filled_price": _average(order),
            "fee": "",
            "number_of_fills": str(order.fills),
            "filled_value": text_of(order.value),
            "pending_cancel": False,
            "size_in_quote": in_quote,
            "total_fees": text_of(fee),
            "size_inclusive_of_fees": in_quote,
            "total_value_after_fees": text_of(after if order.fills else Decimal(0)),
            "trigger_status": "INVALID_ORDER_TYPE",
            "order_type": "MARKET" if is_market else "LIMIT",
            "reject_reason": "REJECT_REASON_UNSPECIFIED",
            "settled": order.fills > 0 and order.status != OPEN,
            "product_type": "SPOT",
            "reject_message": "",
            "cancel_message": "User requested cancel" if order.status == CANCELLED else "",
            "order_placement_source": "RETAIL_ADVANCED",
            "outstanding_hold_amount": text_of(_hold(order)),
            "is_liquidation": False,
            "last_fill_time": moment(order.updated_ms) if order.fills and order.status != CANCELLED else None,
            "edit_history": [],
            "retail_portfolio_id": self.user_id,
        }

    def fill(self, fill: FillRow, trade_type: str = "FILL") -> dict[str, Any]:
        """One of GET orders/historical/fills; `size` is in quote where `size_in_quote` says so."""
        return {
            "entry_id": self.fill_id(fill.index),
            "trade_id": self.id_of("trade", fill.index),
            "order_id": self.id_of("order", fill.order),
            "trade_time": moment(fill.at_ms),
            "trade_type": trade_type,
            "price": text_of(fill.price),
            "size": text_of(fill.value if fill.size_in_quote else fill.size),
            "commission": text_of(fill.fee),
            "product_id": fill.listing.symbol,
            "sequence_timestamp": moment(fill.at_ms),
            "liquidity_indicator": "MAKER" if fill.maker else "TAKER",
            "size_in_quote": fill.size_in_quote,
            "user_id": self.user_id,
            "side": fill.side,
            "retail_portfolio_id": self.user_id,
        }

    def update(self, order: OrderRow, *, is_new: bool = False) -> dict[str, str]:
        """An order on the user channel; `is_new`: as it stood before it filled."""
        fee = order.fee or Decimal(0)
        filled, value = (Decimal(0), Decimal(0)) if is_new else (order.filled, order.value)
        after = value + (-fee if order.sell else fee)
        is_market = order.kind in (MARKET, QUOTE)
        return {
            "avg_price": "0" if is_new else _average(order),
            "cancel_reason": "User requested cancel" if order.status == CANCELLED else "",
            "client_order_id": self.id_of("client", order.index),
            "completion_percentage": text_of(round(filled * 100 / order.size, 2)),
            "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE",
            "creation_time": moment(order.created_ms),
            "cumulative_quantity": text_of(filled),
            "end_time": "0001-01-01T00:00:00Z",
            "filled_value": text_of(value),
            "leaves_quantity": text_of(Decimal(0) if order.status == CANCELLED else order.size - filled),
            "limit_price": text_of(order.limit) if order.limit else "",
            "number_of_fills": "0" if is_new else str(order.fills),
            "order_id": self.id_of("order", order.index),
            "order_side": order.side,
            "order_type": "Market" if is_market else "Limit",
            "outstanding_hold_amount": text_of(_hold(order)),
            "post_only": "true" if order.kind == MAKER else "false",
            "product_id": order.listing.symbol,
            "product_type": "SPOT",
            "reject_reason": "",
            "retail_portfolio_id": self.user_id,
            "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE",
            "status": "OPEN" if is_new else _STATUS.get(order.status, "FILLED"),
            "stop_price": "",
            "time_in_force": "IMMEDIATE_OR_CANCEL" if is_market else "GOOD_UNTIL_CANCELLED",
            "total_fees": text_of(Decimal(0) if is_new else fee),
            "total_value_after_fees": text_of(Decimal(0) if is_new else after),
            "trigger_status": "INVALID_ORDER_TYPE",
        }


def _mixed(number: int) -> int:
    """64 bits that show nothing of the number (SplitMix64's finish)."""
    bits = number & _ALL_BITS
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & _ALL_BITS
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & _ALL_BITS
    return bits ^ bits >> 31


def _in_quote(order: OrderRow) -> bool:
    return order.kind == QUOTE and not order.sell


def _configuration(order: OrderRow, spent: Decimal) -> dict[str, dict[str, Any]]:
    if _in_quote(order):
        return {"market_market_ioc": {"quote_size": text_of(spent)}}
    if order.kind in (MARKET, QUOTE):
        return {"market_market_ioc": {"base_size": text_of(order.size)}}
    about = {"base_size": text_of(order.size), "limit_price": text_of(order.limit)}
    return {"limit_limit_gtc": {**about, "post_only": order.kind == MAKER}}


def _average(order: OrderRow) -> str:
    """Sixteen digits, as the exchange writes quotients."""
    return text_of(round(order.value / order.filled, 16)) if order.filled else "0"


def _hold(order: OrderRow) -> Decimal:
    left = order.size - order.filled if order.status == OPEN else Decimal(0)
    return left if order.sell else left * order.limit
