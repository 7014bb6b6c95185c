"""Which products to watch: the liquid ones, what was asked for, and aliases under their canonical id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Protocol

from livermore_dagster.errors import UnknownSymbol
from livermore_dagster.market.exchange import ExchangeRow, Product

__all__ = ["CASH", "AliasTable", "Choice", "rank_universe", "resolve_symbols", "usd_volume"]

# Currencies that stand for a dollar: their volumes are dollars, and they are nobody's Tier 1 base.
USD_LIKE = frozenset({"USD", "USDT", "USDC", "FDUSD", "TUSD", "BUSD", "DAI", "PYUSD", "USDP", "GUSD", "USD1"})
STABLE = USD_LIKE | frozenset(
    {"USDS", "USDE", "USDD", "USDG", "FRAX", "LUSD", "SUSD", "UST", "USTC", "XUSD", "RLUSD", "USDQ", "USDR",
     "AEUR", "EURI", "EURC", "EURS", "EURT", "EURQ", "EURR", "PAX", "CUSD", "BFUSD", "GYEN", "XSGD"}
)  # fmt: skip
FIAT = frozenset(
    {"USD", "EUR", "GBP", "JPY", "CHF", "AUD", "CAD", "NZD", "TRY", "BRL", "ARS", "MXN", "PLN", "RON", "CZK",
     "UAH", "RUB", "ZAR", "NGN", "IDR", "INR", "KRW", "CNY", "HKD", "SGD", "THB", "VND", "SEK", "NOK", "DKK",
     "COP", "KZT", "BIDR", "BKRW", "BVND", "IDRT"}
)  # fmt: skip
CASH = STABLE | FIAT
"""Money of account: what is held of it is no position."""
_LEVERAGE_ENDS = ("UP", "DOWN", "BULL", "BEAR", "2L", "2S", "3L", "3S", "4L", "4S", "5L", "5S")


class Choice(Protocol):
    """What a user chose: the `top` N of the exchange, and products by name."""

    @property
    def top(self) -> int | None: ...
    @property
    def listed(self) -> tuple[str, ...]: ...


class AliasTable:
    """Which symbol names the same book (X3b): Coinbase BTC-USDC is BTC-USD."""

    def __init__(self, products: Iterable[Product]) -> None:
        self._canonical: dict[str, str] = {}
        self._aliases: dict[str, list[str]] = {}
        for product in products:
            canonical = product.alias_of or product.symbol
            self._canonical[product.symbol] = canonical
            if canonical != product.symbol:
                self._aliases.setdefault(canonical, []).append(product.symbol)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._canonical

    def canonical(self, symbol: str) -> str:
        """Id under which the book is monitored; a symbol not in the list stays as it is."""
        return self._canonical.get(symbol, symbol)

    def aliases(self, canonical: str) -> tuple[str, ...]:
        """Other ids of the same book."""
        return tuple(self._aliases.get(canonical, ()))


def usd_prices(products: Iterable[Product]) -> dict[str, Decimal]:
    """Dollars for one unit of each base that has a dollar market, by the most traded one."""
    best: dict[str, tuple[Decimal, Decimal]] = {}
    for product in products:
        if product.quote in USD_LIKE and product.price is not None:
            volume = Decimal(product.quote_volume_24h or 0)
            held = best.get(product.base)
            if held is None or volume > held[0]:
                best[product.base] = (volume, Decimal(product.price))
    return {base: price for base, (_, price) in best.items()}


def usd_volume(product: Product, prices: dict[str, Decimal]) -> Decimal | None:
    """24 h volume in USD; None where the list carries none or its quote has no dollar price."""
    if product.quote_volume_24h is None:
        return None
    volume = Decimal(product.quote_volume_24h)
    if product.quote in USD_LIKE:
        return volume
    price = prices.get(product.quote)
    return None if price is None else volume * price


def _is_leveraged(base: str, bases: set[str]) -> bool:
    """BTCUP is leveraged where BTC is a base; JUP is not, since J is none."""
    return any(base.endswith(end) and base[: -len(end)] in bases for end in _LEVERAGE_ENDS)


def rank_universe(products: Sequence[Product], row: ExchangeRow, top: int) -> list[Product]:
    """The `top` products by 24 h USD volume, one per base (X3 Tier 1), most traded first.

    Of several products of a base the most traded one stays; where volumes tie or are unknown, the quote
    that stands first in the row's list. Trade counts play no part: an unknown one cannot demote.
    """
    prices = usd_prices(products)
    bases = {product.base for product in products}
    wanted = {quote: place for place, quote in enumerate(row.quote_currencies)}

    def order(product: Product) -> tuple[Decimal, int, str]:
        volume = usd_volume(product, prices)
        return (-volume if volume is not None else Decimal(1), wanted[product.quote], product.symbol)

    kept: dict[str, Product] = {}
    eligible = (
        product
        for product in products
        if product.trading
        and product.alias_of is None
        and product.quote in wanted
        and product.base not in STABLE
        and product.base not in FIAT
        and not _is_leveraged(product.base, bases)
    )
    for product in sorted(eligible, key=order):
        kept.setdefault(product.base, product)
    return list(kept.values())[:top]


def resolve_symbols(choice: Choice, products: Sequence[Product], row: ExchangeRow) -> list[str]:
    """Canonical ids to monitor, in rank order: the top N, then what is listed beside them, each once.

    Raises UnknownSymbol for a listed symbol the exchange does not have.
    """
    aliases = AliasTable(products)
    symbols = {product.symbol: None for product in rank_universe(products, row, choice.top or 0)}
    for symbol in choice.listed:
        if symbol not in aliases:
            known = [p.symbol for p in rank_universe(products, row, len(products))]
            raise UnknownSymbol(symbol, row.name, known or [p.symbol for p in products])
        symbols[aliases.canonical(symbol)] = None
    return list(symbols)
