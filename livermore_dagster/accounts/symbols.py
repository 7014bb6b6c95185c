"""A user's own symbols as a service: validated against the exchange, changed, searched (U4).

Each symbol has its own result: one that cannot be does not keep the others from being done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import redis.asyncio
from psycopg import AsyncConnection

from livermore_dagster.accounts import settings
from livermore_dagster.accounts.listing import store_product, store_products
from livermore_dagster.accounts.settings_document import SettingsDocument
from livermore_dagster.errors import RequestRefused, UnknownSymbol
from livermore_dagster.exchanges.client import ExchangeClient
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.stores.postgres.symbols import SymbolRow, load_symbols

__all__ = ["Outcome", "SymbolResult", "add", "remove", "search", "set_enabled", "validate"]

ASKED_ALONE: Final = 5
"""More than so many unknown symbols are looked up in one reading of the whole list."""
_POSSIBLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


class Outcome(StrEnum):
    ADDED = "added"
    ENABLED = "enabled"
    DISABLED = "disabled"
    REMOVED = "removed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SymbolResult:
    """What became of one symbol. `symbol`: the id under which it is kept, where there is one."""

    given: str
    outcome: Outcome
    symbol: str | None = None
    words: str = ""


async def validate(
    connection: AsyncConnection[Any], client: ExchangeClient, row: ExchangeRow, given: Iterable[str]
) -> dict[str, SymbolRow | UnknownSymbol]:
    """The product each names, an alias its canonical one, or why there is none.

    Only what is not in the stored list is asked of the exchange. Raises ExchangeError when it cannot answer.
    """
    wanted = list(dict.fromkeys(given))
    listed = {one.symbol: one for one in await load_symbols(connection, row.id) if one.listed}
    unknown = [symbol for symbol in wanted if symbol not in listed and _POSSIBLE.fullmatch(symbol)]
    if not listed or len(unknown) > ASKED_ALONE:
        await store_products(connection, row, await client.products(Priority.BROWSE))
        listed = {one.symbol: one for one in await load_symbols(connection, row.id) if one.listed}
    else:
        for symbol in unknown:
            try:
                product = await client.product(symbol, Priority.BROWSE)
            except RequestRefused:
                continue
            if product.symbol == symbol:
                listed[symbol] = await store_product(connection, row, product)
    names = [one.symbol for one in listed.values() if one.trading]
    found: dict[str, SymbolRow | UnknownSymbol] = {}
    for symbol in wanted:
        one = listed.get(symbol)
        if one is not None and one.alias_of is not None:
            one = listed.get(one.alias_of, one)
        found[symbol] = one if one is not None else UnknownSymbol(symbol, row.name, names)
    return found


async def add(
    connection: AsyncConnection[Any],
    store: redis.asyncio.Redis,
    client: ExchangeClient,
    row: ExchangeRow,
    sub: str,
    given: Mapping[str, bool],
    *,
    by: str,
) -> list[SymbolResult]:
    """Adds each to the user's symbols, switched on or off as `given` says; one of there already is switched.

    Commits. Raises what settings.amend raises, and ExchangeError.
    """
    known = await validate(connection, client, row, given)
    results: list[SymbolResult] = []

    def change(document: SettingsDocument) -> SettingsDocument:
        results.clear()
        own = {symbol: one.enabled for symbol, one in document.symbols.get(row.name, {}).items()}
        for symbol, enabled in given.items():
            found = known[symbol]
            if isinstance(found, UnknownSymbol):
                results.append(SymbolResult(symbol, Outcome.REFUSED, None, str(found)))
                continue
            before = own.get(found.symbol)
            outcome = Outcome.ADDED if before is None else _switched(before, enabled)
            own[found.symbol] = enabled
            results.append(SymbolResult(symbol, outcome, found.symbol, _remark(symbol, found)))
        return _with(document, row.name, own)

    await settings.amend(connection, store, sub, change, by=by)
    return results


async def remove(
    connection: AsyncConnection[Any],
    store: redis.asyncio.Redis,
    exchange: str,
    sub: str,
    given: Sequence[str],
    *,
    by: str,
) -> list[SymbolResult]:
    """Takes each out of the user's symbols; what others want, or ranks among the first, is monitored on."""

    def take(own: dict[str, bool], symbol: str) -> Outcome:
        del own[symbol]
        return Outcome.REMOVED

    return await _change_own(connection, store, exchange, sub, given, take, by)


async def set_enabled(
    connection: AsyncConnection[Any],
    store: redis.asyncio.Redis,
    exchange: str,
    sub: str,
    given: Sequence[str],
    *,
    enabled: bool,
    by: str,
) -> list[SymbolResult]:
    """Switches each of the user's symbols on or off; it stays in the settings."""

    def switch(own: dict[str, bool], symbol: str) -> Outcome:
        outcome = _switched(own[symbol], enabled)
        own[symbol] = enabled
        return outcome

    return await _change_own(connection, store, exchange, sub, given, switch, by)


async def _change_own(
    connection: AsyncConnection[Any],
    store: redis.asyncio.Redis,
    exchange: str,
    sub: str,
    given: Sequence[str],
    act: Any,
    by: str,
) -> list[SymbolResult]:
    results: list[SymbolResult] = []

    def change(document: SettingsDocument) -> SettingsDocument:
        results.clear()
        own = {symbol: one.enabled for symbol, one in document.symbols.get(exchange, {}).items()}
        for symbol in dict.fromkeys(given):
            if symbol in own:
                results.append(SymbolResult(symbol, act(own, symbol), symbol))
            else:
                there = ", ".join(sorted(own)) or "none"
                words = f"{sub} has no {symbol!r} at {exchange}; there: {there}"
                results.append(SymbolResult(symbol, Outcome.REFUSED, None, words))
        return _with(document, exchange, own)

    await settings.amend(connection, store, sub, change, by=by)
    return results


def search(rows: Sequence[SymbolRow], text: str, limit: int) -> list[SymbolRow]:
    """Listed products whose id, base or quote holds `text`, whatever its case and separators: exact ones
    first, then by rank."""
    wanted = _bare(text)

    def order(row: SymbolRow) -> tuple[bool, bool, int, str]:
        exact = wanted in (_bare(row.symbol), row.base.upper())
        return (not exact, row.volume_rank is None, row.volume_rank or 0, row.symbol)

    hits = [row for row in rows if row.listed and wanted in _bare(row.symbol)]
    return sorted(hits, key=order)[:limit]


def _bare(text: str) -> str:
    return "".join(letter for letter in text.upper() if letter.isalnum())


def _switched(before: bool, enabled: bool) -> Outcome:
    if before == enabled:
        return Outcome.UNCHANGED
    return Outcome.ENABLED if enabled else Outcome.DISABLED


def _remark(given: str, found: SymbolRow) -> str:
    words = []
    if given != found.symbol:
        words.append(f"{given} is {found.symbol}: one book, monitored once")
    if not found.trading:
        words.append("halted: monitored when it trades again")
    return "; ".join(words)


def _with(document: SettingsDocument, exchange: str, own: Mapping[str, bool]) -> SettingsDocument:
    """The document with these as the user's symbols at `exchange`."""
    whole = document.model_dump(mode="json")
    if own:
        whole["symbols"][exchange] = {symbol: {"enabled": enabled} for symbol, enabled in own.items()}
    else:
        whole["symbols"].pop(exchange, None)
    return settings.parse_document(json.dumps(whole))
