"""What an account did on an exchange: orders, fills, fee tiers, balances. Amounts are exact decimals.

Amounts of different currencies are never added (F2b): every amount stands beside its currency.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

__all__ = ["AsideEntry", "Balance", "FeeTier", "Fill", "Liquidity", "Order", "Side"]


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class Liquidity(StrEnum):
    MAKER = "maker"
    TAKER = "taker"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the exchange last told it. Times are epoch ms, UTC.

    `symbol` is the order's own product id, also where that is an alias (X3b). `status` is the exchange's own
    word. `filled_value` is in `quote`; `fee` is in `fee_currency`, None where the exchange does not tell the
    fee of an order (Binance: only its fills do).
    """

    order_id: str
    symbol: str
    base: str
    quote: str
    side: Side
    order_type: str
    status: str
    created_ms: int
    updated_ms: int
    """When it last changed as far as the exchange tells: its last fill, else its creation."""
    filled_size: Decimal
    filled_value: Decimal
    average_price: Decimal | None
    fee: Decimal | None
    fee_currency: str | None
    fill_count: int | None
    settled: bool


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution. `size` is in base, `value` = price × size in quote, whatever way the exchange says it.

    `fill_id` is the exchange's own: unique within exchange, account and symbol. `fee` is as charged, in
    `fee_currency`; it is below 0 for a rebate.
    """

    fill_id: str
    order_id: str
    symbol: str
    base: str
    quote: str
    side: Side
    filled_ms: int
    price: Decimal
    size: Decimal
    value: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Liquidity


@dataclass(frozen=True, slots=True)
class AsideEntry:
    """An entry of an exchange's list of fills that is no plain execution: `trade_type` is its word for it.

    What such an entry does to a total is not known, so it is in none; the amounts are the exchange's texts.
    """

    entry_id: str
    order_id: str
    symbol: str
    trade_type: str
    side: str
    traded_ms: int
    price: str
    size: str
    commission: str


@dataclass(frozen=True, slots=True)
class FeeTier:
    """The account's tier now. Rates are fractions (0.0006 is 0.06 %); volume and fees of the last 30 days.

    None where the exchange does not say. `currency` is what volume and fees are counted in.
    """

    name: str
    maker_rate: Decimal
    taker_rate: Decimal
    volume_30d: Decimal | None
    fees_30d: Decimal | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds of one currency: `available` may be used, `hold` is bound in open orders."""

    currency: str
    available: Decimal
    hold: Decimal
