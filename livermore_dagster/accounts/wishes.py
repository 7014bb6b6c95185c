"""What users want monitored at an exchange: their own additions and what their accounts hold (X3, Tier 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from psycopg import AsyncConnection

from livermore_dagster.accounts.monitored import MonitoredList, Wish, merge
from livermore_dagster.accounts.settings import UserSettings, load_active
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.balances import Holding, read_holdings
from livermore_dagster.stores.postgres.symbols import SymbolRow, load_symbols
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice

__all__ = ["DEFAULT_TOP", "choice_for", "load_monitored", "main_markets", "timeframes_of", "wishes_of"]

DEFAULT_TOP: Final = 50
"""Tier 1's size where nobody says otherwise (X3)."""
DUST_USD: Final = Decimal(1)
"""Held for less than this, a currency is what a trade left over, not a position."""


async def load_monitored(
    connection: AsyncConnection[Any], row: ExchangeRow, desired: Desired
) -> MonitoredList:
    """What an instance monitors that shall be as `desired`, by what is stored; asks no exchange."""
    rows = await load_symbols(connection, row.id)
    people = await load_active(connection)
    wishes = wishes_of(people, row.name, await read_holdings(connection, row.id), rows)
    held_only = desired.mode == "position-monitor"
    return merge(choice_for(desired, people, row.name), rows, wishes, held_only=held_only)


def choice_for(desired: Desired, people: Iterable[UserSettings], exchange: str) -> SymbolChoice:
    """What was said at the start; else the top N of the settings of who started it, else the top 50."""
    if desired.symbols.top is not None or desired.symbols.listed:
        return desired.symbols
    for person in people:
        scanner = person.document.scanner
        if person.sub == desired.user and scanner.exchange in (None, exchange):
            return SymbolChoice(top=scanner.top_n)
    return SymbolChoice(top=DEFAULT_TOP)


def wishes_of(
    people: Sequence[UserSettings], exchange: str, holdings: Sequence[Holding], rows: Sequence[SymbolRow]
) -> list[Wish]:
    """Enabled additions and holdings of those who have not switched the exchange off."""
    wanting = [person for person in people if person.document.trades_at(exchange)]
    added = [
        Wish(person.user_id, person.sub, symbol)
        for person in wanting
        for symbol in person.document.symbols_at(exchange)
    ]
    present = {person.user_id for person in wanting}
    markets = main_markets(rows)
    held = [
        Wish(one.user_id, one.sub, markets[one.currency].symbol, held=True)
        for one in holdings
        if one.user_id in present and one.currency in markets and not _dust(one, markets[one.currency])
    ]
    return added + held


def timeframes_of(people: Iterable[UserSettings], exchange: str) -> frozenset[Timeframe]:
    """Those of which MACD-V and alerts are computed: what any of `people` wants who has not switched the
    exchange off; all where nobody is."""
    wanted: set[Timeframe] = set()
    for person in people:
        if person.document.trades_at(exchange):
            wanted.update(person.document.runtime.timeframes)
    return frozenset(wanted or Timeframe)


def main_markets(rows: Sequence[SymbolRow]) -> dict[str, SymbolRow]:
    """The most traded product of each base; stable coins and fiat have none."""
    ranked = sorted(
        (row for row in rows if row.volume_rank is not None), key=lambda row: row.volume_rank or 0
    )
    return {row.base: row for row in reversed(ranked)}


def _dust(held: Holding, market: SymbolRow) -> bool:
    """Ranked markets are quoted in dollars or what stands for them."""
    return market.price is not None and held.amount * Decimal(market.price) < DUST_USD
