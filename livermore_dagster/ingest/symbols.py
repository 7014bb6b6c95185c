"""What an exchange's instance monitors, and the product list that says it (X3)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, Final, cast

import structlog
from redis.exceptions import RedisError

from livermore_dagster.accounts.listing import ListChange, store_products
from livermore_dagster.accounts.monitored import Gone, MonitoredList
from livermore_dagster.accounts.wishes import load_monitored
from livermore_dagster.errors import ProductListCut, UnknownSymbol
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.exchanges.wire import spread_bps
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.exchange import Product
from livermore_dagster.stores.postgres.symbols import load_symbols
from livermore_dagster.stores.postgres.user_settings import note_scan
from livermore_dagster.stores.redis import keys, metrics
from livermore_dagster.stores.redis.desired import Desired, read_desired
from livermore_dagster.stores.redis.symbol_events import SymbolEvent, append_symbol_event
from livermore_dagster.stores.redis.tickers import read_tickers

__all__ = [
    "follow_wishes",
    "keep_product_list",
    "list_age_ms",
    "list_in_use",
    "refresh_products",
    "resolve_monitored",
]

log = structlog.get_logger(__name__)

_REUSE_MS: Final = 3_600_000
"""A restart within an hour of the list's last use asks the exchange for nothing (P10) …"""
_OLDEST_MS: Final = 7 * 86_400_000
"""… for a week: then it is asked anew which are its most traded."""
_BELIEVED_AFTER_MS: Final = 600_000
"""A list as short as one that was not believed so long ago is true."""
_AS_SHORT: Final = 0.05
"""Of two readings of a list this share may come and go meanwhile."""
_IN_USE_S: Final = 300.0
_QUIET_S: Final = 15.0
_SETTLE_S: Final = 0.3
"""Changes that come together, such as an import of many symbols, are followed together."""


async def resolve_monitored(ctx: ExchangeContext, desired: Desired) -> MonitoredList:
    """Every way of starting monitors this, and `livermore symbols list` shows it.

    The exchange is asked for its list only where none is in use. Raises UnknownSymbol for a symbol that was
    chosen by name and never was there, and where nothing of what was chosen trades any more; what users want
    and cannot have is left out with its reason.
    """
    fresh = False
    if not await list_in_use(ctx):
        fresh = await _refreshed(ctx, desired)
    found = await _merged(ctx, desired)
    if not fresh and _unknown(found, desired) and await _refreshed(ctx, desired):
        # Perhaps it was listed since.
        found = await _merged(ctx, desired)
    missing = _unknown(found, desired) or (list(desired.symbols.listed) if not found.symbols else [])
    # What is held is monitored in that mode, be it nothing; what was named waits for the other mode (C5).
    if missing and desired.mode != "position-monitor":
        async with ctx.pool.connection() as connection:
            known = [row.symbol for row in await load_symbols(connection, ctx.row.id) if row.trading]
        raise UnknownSymbol(missing[0], ctx.row.name, known)
    return found


async def _refreshed(ctx: ExchangeContext, desired: Desired) -> bool:
    """Whether the list is the exchange's of now; one that is not believed leaves the one before in use."""
    try:
        await refresh_products(ctx, desired)
    except ProductListCut:
        return False
    return True


async def refresh_products(
    ctx: ExchangeContext, desired: Desired | None = None, priority: Priority = Priority.WARMUP
) -> ListChange:
    """Reads the exchange's whole list and keeps it; everyone who chooses by it hears of it.

    A monitored symbol that stopped trading is told. `desired`: what is monitored by; None reads it. Raises
    ProductListCut for a list that is not believed, which is told too, and what asking raises.
    """
    wanted = desired or await read_desired(ctx.redis, ctx.row.id) or Desired("idle")
    before = await _merged(ctx, wanted)
    products = await ctx.client.products(priority)
    spreads = await _spreads(ctx, products)
    confirmed = await _said_before(ctx, len(products))
    now_ms = ctx.clock.now_ms()
    try:
        async with ctx.pool.connection() as connection:
            change = await store_products(connection, ctx.row, products, spreads, confirmed=confirmed)
            await note_scan(connection, ctx.row.name, now_ms)
    except ProductListCut as error:
        await _tell_cut(ctx, error)
        raise
    await ctx.redis.delete(keys.product_list_refused(ctx.row.id))
    await _note_list(ctx, now_ms, now_ms)
    monitored = {one.symbol for one in before.symbols}
    await _tell_gone(ctx, [symbol for symbol in change.delisted if symbol in monitored], Gone.DELISTED)
    await _tell_gone(ctx, [symbol for symbol in change.halted if symbol in monitored], Gone.HALTED)
    if change:
        log.info("products_changed", exchange=ctx.row.name, **asdict(change))
    told = {"exchange_id": ctx.row.id, "exchange": ctx.row.name, **asdict(change)}
    await ctx.redis.publish(keys.CHANNEL_SYMBOLS, json.dumps(told))
    return change


async def list_in_use(ctx: ExchangeContext) -> bool:
    """Whether there is a ranked list that was in use not long ago."""
    text = await ctx.redis.get(keys.product_list(ctx.row.id))
    if not text:
        return False
    noted, now_ms = json.loads(text), ctx.clock.now_ms()
    if not 0 <= now_ms - noted["at_ms"] < _REUSE_MS or now_ms - noted["made_ms"] >= _OLDEST_MS:
        return False
    async with ctx.pool.connection() as connection:
        return any(row.volume_rank is not None for row in await load_symbols(connection, ctx.row.id))


async def list_age_ms(ctx: ExchangeContext) -> int | None:
    """How long ago the stored list was read; None where none ever was."""
    text = await ctx.redis.get(keys.product_list(ctx.row.id))
    return ctx.clock.now_ms() - int(json.loads(text)["made_ms"]) if text else None


async def keep_product_list(ctx: ExchangeContext) -> None:
    """Part: until cancelled the list is in use, so that its hour begins when the instance ends; so are the
    keys of users' own symbols. A list that was not believed is asked for again."""
    while True:
        await ctx.cache.keep_owned()
        await ctx.clock.sleep(_IN_USE_S)
        text = await ctx.redis.get(keys.product_list(ctx.row.id))
        now_ms = ctx.clock.now_ms()
        if text:
            await _note_list(ctx, json.loads(text)["made_ms"], now_ms)
        refused = await _refused(ctx)
        if refused is not None and now_ms - refused["at_ms"] >= _BELIEVED_AFTER_MS:
            event = SymbolEvent(ctx.row.id, "doubt", now_ms, reason="the list read before was not believed")
            await append_symbol_event(ctx.redis, event)


async def follow_wishes(ctx: ExchangeContext, changed: Callable[[], Awaitable[None]]) -> None:
    """Part: until cancelled. Calls `changed` whenever what is monitored may be something else: a user or his
    settings changed, or the product list or what is held was read anew. Once at the start, for what was said
    before it heard.
    """
    pubsub = cast("Any", ctx.redis.pubsub(ignore_subscribe_messages=True))
    try:
        await pubsub.subscribe(keys.CHANNEL_SETTINGS, keys.CHANNEL_SYMBOLS)
        await changed()
        while True:
            message = await pubsub.get_message(timeout=_QUIET_S)
            if message is None:
                await pubsub.ping()
            elif _concerns(message, ctx.row.id):
                await ctx.clock.sleep(_SETTLE_S)
                while await pubsub.get_message(timeout=0.0) is not None:
                    pass
                await changed()
    finally:
        try:
            await pubsub.aclose()
        except (RedisError, OSError):
            log.debug("pubsub_lost", exchange=ctx.row.name)


def _concerns(message: dict[str, Any], exchange_id: int) -> bool:
    if message["channel"] != keys.CHANNEL_SYMBOLS:
        return True
    try:
        return bool(json.loads(message["data"])["exchange_id"] == exchange_id)
    except (ValueError, KeyError, TypeError):
        return False


async def _merged(ctx: ExchangeContext, desired: Desired) -> MonitoredList:
    async with ctx.pool.connection() as connection:
        return await load_monitored(connection, ctx.row, desired)


def _unknown(found: MonitoredList, desired: Desired) -> list[str]:
    unknown = {one.symbol for one in found.left_out if one.why is Gone.UNKNOWN}
    return [symbol for symbol in desired.symbols.listed if symbol in unknown]


async def _spreads(ctx: ExchangeContext, products: Sequence[Product]) -> dict[str, float]:
    """By live tickers, of products whose list tells no book (Coinbase)."""
    wanted = [product.symbol for product in products if product.spread_bps is None and product.trading]
    tickers = await read_tickers(ctx.redis, ctx.row.id, wanted)
    found = {symbol: spread_bps(one.bid or "", one.ask or "") for symbol, one in tickers.items()}
    return {symbol: spread for symbol, spread in found.items() if spread is not None}


async def _note_list(ctx: ExchangeContext, made_ms: int, at_ms: int) -> None:
    noted = json.dumps({"made_ms": made_ms, "at_ms": at_ms})
    await ctx.redis.set(keys.product_list(ctx.row.id), noted)


async def _refused(ctx: ExchangeContext) -> dict[str, int] | None:
    """`count` of products and `at_ms` (wall clock) of the newest list that was not believed."""
    text = await ctx.redis.get(keys.product_list_refused(ctx.row.id))
    return cast("dict[str, int]", json.loads(text)) if text else None


async def _said_before(ctx: ExchangeContext, count: int) -> bool:
    """Whether a list as short was not believed long enough ago: then the exchange means it."""
    then = await _refused(ctx)
    if then is None or ctx.clock.now_ms() - then["at_ms"] < _BELIEVED_AFTER_MS:
        return False
    return abs(count - then["count"]) <= _AS_SHORT * then["count"]


async def _tell_cut(ctx: ExchangeContext, error: ProductListCut) -> None:
    log.warning("product_list_cut", exchange=ctx.row.name, text=error.message)
    said = json.dumps({"count": error.count, "at_ms": ctx.clock.now_ms()})
    known = await _refused(ctx)
    if known is None or abs(error.count - known["count"]) > _AS_SHORT * known["count"]:
        await ctx.redis.set(keys.product_list_refused(ctx.row.id), said)
    await metrics.count(ctx.redis, ctx.row.id, "product_lists_refused")
    await metrics.incident(ctx.redis, IncidentName.PRODUCT_LIST_CUT, ctx.row.id, error.message)


async def _tell_gone(ctx: ExchangeContext, gone: Sequence[str], why: Gone) -> None:
    words = "is halted at" if why is Gone.HALTED else "does not trade any more at"
    for symbol in gone:
        text = f"{symbol} {words} {ctx.row.name}; it is left out, the others are monitored."
        log.warning("symbol_gone", exchange=ctx.row.name, symbol=symbol, text=text)
        await metrics.count(ctx.redis, ctx.row.id, "symbols_gone")
        await metrics.incident(ctx.redis, IncidentName.SYMBOL_GONE, ctx.row.id, text, symbol=symbol)
