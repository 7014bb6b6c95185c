"""Commands about symbols, as far as they are settings: what their sender wants from now on (Tier 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from livermore_dagster.accounts.settings import amend
from livermore_dagster.accounts.settings_document import SettingsDocument, SymbolSetting
from livermore_dagster.control.commands.message import AddSymbol, BulkAddSymbols, Command, RemoveSymbol
from livermore_dagster.errors import UnknownSymbol
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.symbols import list_in_use, refresh_products
from livermore_dagster.stores.postgres.symbols import SymbolRow, load_symbols

__all__ = ["add_symbols", "remove_symbol"]


async def add_symbols(ctx: ExchangeContext, command: Command) -> Mapping[str, Any]:
    """Adds what the exchange trades to the sender's settings; each symbol's outcome, where there are many.

    Raises UnknownSymbol when none of them can be had.
    """
    payload = cast("AddSymbol | BulkAddSymbols", command.typed_payload())
    wanted = payload.symbols if isinstance(payload, BulkAddSymbols) else (payload.symbol,)
    listed = await _listed(ctx, wanted)
    known: dict[str, None] = {}
    refused: dict[str, str] = {}
    for symbol in wanted:
        row = listed.get(symbol)
        if row is None:
            refused[symbol] = "unknown"
        elif not row.trading:
            refused[symbol] = "not traded now"
        else:
            known[row.alias_of or symbol] = None
    if not known:
        raise UnknownSymbol(wanted[0], ctx.row.name, [row.symbol for row in listed.values() if row.trading])
    name = ctx.row.name

    def change(document: SettingsDocument) -> SettingsDocument:
        own = {**document.symbols.get(name, {}), **dict.fromkeys(known, SymbolSetting())}
        return document.model_copy(update={"symbols": {**document.symbols, name: own}})

    async with ctx.pool.connection() as connection:
        await amend(connection, ctx.redis, command.sub, change, by=command.sub)
    return {"wanted": list(known), **({"refused": refused} if refused else {})}


async def remove_symbol(ctx: ExchangeContext, command: Command) -> Mapping[str, Any]:
    """Takes a symbol out of the sender's settings; what others want, or is in Tier 1, is monitored on.

    Raises UnknownSymbol for one the exchange never had.
    """
    symbol = cast("RemoveSymbol", command.typed_payload()).symbol
    listed = await _listed(ctx, (symbol,))
    row = listed.get(symbol)
    if row is None:
        raise UnknownSymbol(symbol, ctx.row.name, [one.symbol for one in listed.values() if one.trading])
    names = {symbol, row.alias_of or symbol}
    had: list[str] = []

    def change(document: SettingsDocument) -> SettingsDocument:
        before = document.symbols.get(ctx.row.name, {})
        had[:] = [one for one in before if one in names]
        own = {one: setting for one, setting in before.items() if one not in names}
        return document.model_copy(update={"symbols": {**document.symbols, ctx.row.name: own}})

    async with ctx.pool.connection() as connection:
        await amend(connection, ctx.redis, command.sub, change, by=command.sub)
    return {"unwanted": had}


async def _listed(ctx: ExchangeContext, wanted: tuple[str, ...]) -> dict[str, SymbolRow]:
    """The exchange's products by id; its list is asked for again where it lacks a wanted one."""
    for _ in range(2):
        async with ctx.pool.connection() as connection:
            listed = {row.symbol: row for row in await load_symbols(connection, ctx.row.id)}
        if await list_in_use(ctx) and all(symbol in listed for symbol in wanted):
            break
        await refresh_products(ctx)
    return listed
