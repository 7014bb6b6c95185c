"""An exchange's product list as it is kept: ranked, graded, and compared with what it was before (X3, X5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from psycopg import AsyncConnection

from livermore_dagster.errors import ProductListCut
from livermore_dagster.exchanges.universe import rank_universe, usd_prices, usd_volume
from livermore_dagster.market.candle import canonical
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.liquidity import Liquidity, grade_of, liquidity_score
from livermore_dagster.stores.postgres.symbols import SymbolRow, load_symbols, upsert_symbols

__all__ = ["ListChange", "compared", "ranked_rows", "store_product", "store_products"]

FEW_PRODUCTS: Final = 10
"""Of fewer any may go at once."""


@dataclass(frozen=True, slots=True)
class ListChange:
    """What a new product list says that the one before did not. The first list of all changes nothing."""

    listed: tuple[str, ...] = ()
    delisted: tuple[str, ...] = ()
    halted: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listed or self.delisted or self.halted or self.resumed)

    @property
    def words(self) -> str:
        parts = {
            "listed": self.listed,
            "delisted": self.delisted,
            "halted": self.halted,
            "trading again": self.resumed,
        }
        return "; ".join(f"{what}: {', '.join(symbols)}" for what, symbols in parts.items() if symbols)


async def store_products(
    connection: AsyncConnection[Any],
    row: ExchangeRow,
    products: Sequence[Product],
    spreads: Mapping[str, float] | None = None,
    *,
    confirmed: bool = False,
) -> ListChange:
    """The whole list into exchange_symbols. `spreads`: of live tickers (bps), where the list has none.

    Raises ProductListCut, and keeps nothing, where most of what was listed is not there any more; not when it
    is `confirmed`: the exchange said so before.
    """
    rows = ranked_rows(row, products, spreads or {})
    async with connection.transaction():
        before = await load_symbols(connection, row.id)
        change = compared(before, rows)
        known = sum(one.listed for one in before)
        if not confirmed and known >= FEW_PRODUCTS and 2 * len(change.delisted) > known:
            raise ProductListCut(row.name, len(rows), len(change.delisted), known)
        await upsert_symbols(connection, row.id, rows)
    return change


async def store_product(connection: AsyncConnection[Any], row: ExchangeRow, product: Product) -> SymbolRow:
    """One product that was asked for alone: its rank is told by the next whole list."""
    made = _row(product, None, {}, {})
    await upsert_symbols(connection, row.id, [made], whole_list=False)
    return made


def ranked_rows(
    row: ExchangeRow, products: Sequence[Product], spreads: Mapping[str, float]
) -> list[SymbolRow]:
    """The list as it is kept: every product, Tier 1's candidates with their rank by volume in USD."""
    ranked = rank_universe(products, row, len(products))
    ranks = {product.symbol: place for place, product in enumerate(ranked, start=1)}
    prices = usd_prices(products)
    return [_row(product, ranks.get(product.symbol), prices, spreads) for product in products]


def compared(before: Sequence[SymbolRow], after: Sequence[SymbolRow]) -> ListChange:
    """`after` is the exchange's whole list, `before` all it ever had as last known."""
    if not before:
        return ListChange()
    old = {row.symbol: row for row in before}
    new = {row.symbol: row for row in after}
    was = {symbol: row for symbol, row in old.items() if row.listed}
    both = [(was[symbol], row) for symbol, row in new.items() if symbol in was]
    return ListChange(
        listed=tuple(symbol for symbol in new if symbol not in was),
        delisted=tuple(symbol for symbol in was if symbol not in new),
        halted=tuple(now.symbol for then, now in both if then.trading and not now.trading),
        resumed=tuple(now.symbol for then, now in both if now.trading and not then.trading),
    )


def _row(
    product: Product, rank: int | None, prices: Mapping[str, Any], spreads: Mapping[str, float]
) -> SymbolRow:
    volume = usd_volume(product, dict(prices))
    spread = product.spread_bps if product.spread_bps is not None else spreads.get(product.symbol)
    # What one unit of quote is worth tells the depth as it told the volume.
    worth = usd_volume(replace(product, quote_volume_24h="1"), dict(prices))
    depth = None if product.depth is None or worth is None else product.depth * float(worth)
    score = liquidity_score(
        Liquidity(product.trades_24h, None if volume is None else float(volume), spread, depth)
    )
    return SymbolRow(
        symbol=product.symbol,
        base=product.base,
        quote=product.quote,
        trading=product.trading,
        alias_of=product.alias_of,
        quote_volume_24h_usd=None if volume is None else canonical(volume),
        trades_24h=product.trades_24h,
        volume_rank=rank,
        listed_ms=product.listed_ms,
        listed=True,
        price=product.price,
        change_24h_pct=product.change_24h_pct,
        spread_bps=spread,
        depth_usd=depth,
        liquidity_score=score,
        liquidity_grade=grade_of(score),
    )
