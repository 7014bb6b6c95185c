"""Which symbols an instance monitors: what was chosen, resolved against the exchange's product list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Final

import structlog

from livermore_dagster.errors import UnknownSymbol
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.exchanges.universe import rank_universe, resolve_symbols, usd_prices, usd_volume
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.candle import canonical
from livermore_dagster.market.exchange import Product
from livermore_dagster.stores.postgres.symbols import SymbolRow, load_symbols, upsert_symbols
from livermore_dagster.stores.redis import keys, metrics
from livermore_dagster.stores.redis.desired import SymbolChoice

__all__ = ["DEFAULT_TOP", "choose_symbols", "keep_selection", "resolve_choice"]

log = structlog.get_logger(__name__)

DEFAULT_TOP: Final = 50
_REUSE_MS: Final = 3_600_000
"""A restart within an hour keeps its symbols and asks the exchange for nothing (P10) …"""
_OLDEST_MS: Final = 7 * 86_400_000
"""… for a week: then the exchange is asked anew which are its most traded."""
_REFRESH_S: Final = 300.0


async def choose_symbols(ctx: ExchangeContext, choice: SymbolChoice) -> list[str]:
    """What `resolve_choice` gives, told at keys.monitored: for the exchange's instance, which monitors it."""
    symbols = await resolve_choice(ctx, choice)
    await ctx.redis.set(keys.monitored(ctx.row.id), json.dumps(symbols))
    return symbols


async def resolve_choice(ctx: ExchangeContext, choice: SymbolChoice) -> list[str]:
    """Canonical ids in rank order, the top 50 where nothing was chosen; the product list is kept with them.

    A listed symbol that no longer trades is left out, and told. Raises UnknownSymbol for one the exchange
    never had, and where nothing is left.
    """
    if choice.top is None and not choice.listed:
        choice = SymbolChoice(top=DEFAULT_TOP)
    symbols = await _kept(ctx, choice)
    if symbols is None:
        products = await ctx.client.products(Priority.WARMUP)
        gone = await _gone(ctx, choice, products)
        left = replace(choice, listed=tuple(symbol for symbol in choice.listed if symbol not in gone))
        symbols = resolve_symbols(left, products, ctx.row)
        if gone and not symbols:
            raise UnknownSymbol(gone[0], ctx.row.name, [one.symbol for one in products if one.trading])
        await _store(ctx, products)
        await _tell_gone(ctx, gone)
        now_ms = ctx.clock.now_ms()
        made = {"choice": asdict(choice), "symbols": symbols, "made_ms": now_ms, "at_ms": now_ms}
        await ctx.redis.set(keys.selection(ctx.row.id), json.dumps(made))
    return symbols


async def keep_selection(ctx: ExchangeContext, symbols: Sequence[str]) -> None:
    """Until cancelled: the selection is in use, so that its hour begins when the instance ends."""
    while True:
        await ctx.clock.sleep(_REFRESH_S)
        text = await ctx.redis.get(keys.selection(ctx.row.id))
        made = json.loads(text) if text else None
        if made is not None and made["symbols"] == list(symbols):
            made["at_ms"] = ctx.clock.now_ms()
            await ctx.redis.set(keys.selection(ctx.row.id), json.dumps(made))


async def _gone(ctx: ExchangeContext, choice: SymbolChoice, products: Sequence[Product]) -> list[str]:
    """Listed symbols that the exchange has stopped trading: it says so, or has dropped them from its list."""
    trading = {product.symbol: product.trading for product in products}
    doubtful = [symbol for symbol in choice.listed if not trading.get(symbol, False)]
    if not doubtful:
        return []
    async with ctx.pool.connection() as connection:
        known = {row.symbol for row in await load_symbols(connection, ctx.row.id)}
    return [symbol for symbol in doubtful if symbol in trading or symbol in known]


async def _tell_gone(ctx: ExchangeContext, gone: Sequence[str]) -> None:
    for symbol in gone:
        text = (
            f"{symbol} does not trade at {ctx.row.name} any more; it is left out, the others are monitored."
        )
        log.warning("symbol_gone", exchange=ctx.row.name, symbol=symbol, text=text)
        await metrics.count(ctx.redis, ctx.row.id, "symbols_gone")
        await metrics.incident(ctx.redis, IncidentName.SYMBOL_GONE, ctx.row.id, text, symbol=symbol)


async def _store(ctx: ExchangeContext, products: Sequence[Product]) -> None:
    """The whole list into exchange_symbols, with each Tier 1 candidate's rank by USD volume."""
    ranked = rank_universe(products, ctx.row, len(products))
    ranks = {product.symbol: place for place, product in enumerate(ranked, start=1)}
    prices = usd_prices(products)
    rows = [_row(product, ranks.get(product.symbol), usd_volume(product, prices)) for product in products]
    async with ctx.pool.connection() as connection:
        await upsert_symbols(connection, ctx.row.id, rows)


def _row(product: Product, rank: int | None, volume: Decimal | None) -> SymbolRow:
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
    )


async def _kept(ctx: ExchangeContext, choice: SymbolChoice) -> list[str] | None:
    """The last selection, if it was made from the same choice and was in use not long ago."""
    text = await ctx.redis.get(keys.selection(ctx.row.id))
    if not text:
        return None
    made = json.loads(text)
    same = made["choice"] == json.loads(json.dumps(asdict(choice)))
    now_ms = ctx.clock.now_ms()
    recent = (
        0 <= now_ms - made["at_ms"] < _REUSE_MS and now_ms - made.get("made_ms", made["at_ms"]) < _OLDEST_MS
    )
    return [str(symbol) for symbol in made["symbols"]] if same and recent else None
