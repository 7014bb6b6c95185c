"""What an account holds against what it cost, out of what is stored; nothing here asks the exchange.

Prices and signals are those of the board: what is stale there gives no signal, an old price has its age.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from redis.asyncio import Redis

from livermore_dagster.accounts.wishes import main_markets
from livermore_dagster.exchanges.universe import CASH
from livermore_dagster.market.board import cells_of, outlook
from livermore_dagster.market.cost_basis import CostMethod, HeldAs, Ledger, Position, positions_of
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.portfolio import PortfolioSignal, portfolio_signal
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.market.trades import Balance
from livermore_dagster.stores.postgres.balances import read_balances
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.exchanges import load_exchanges
from livermore_dagster.stores.postgres.fills import stream_fills
from livermore_dagster.stores.postgres.symbols import SymbolRow, load_symbols
from livermore_dagster.stores.postgres.user_exchanges import AccountRow
from livermore_dagster.stores.redis.overview import Overview, SeriesId, read_overview

__all__ = ["OLD_PRICE_MS", "HeldPosition", "Portfolio", "make_portfolio"]

OLD_PRICE_MS = 600_000
"""A price older than this, two of the candles Coinbase streams, is shown with its age."""


@dataclass(frozen=True, slots=True)
class HeldPosition:
    """A position, the symbol it is priced by, how old its price is, and its signal (S10)."""

    position: Position
    symbol: str
    price_source: str
    """'ticker', 'candle_close' or '' without a price."""
    price_ms: int | None
    price_age_ms: int | None
    """In market time."""
    signal: PortfolioSignal

    @property
    def price_is_old(self) -> bool:
        return self.price_age_ms is not None and self.price_age_ms > OLD_PRICE_MS


@dataclass(frozen=True, slots=True)
class Portfolio:
    account: AccountRow
    method: CostMethod
    fills: int
    balances_ms: int | None
    """When the balances were read (epoch ms), None where they never were."""
    positions: list[HeldPosition]


@dataclass(frozen=True, slots=True)
class _Price:
    price: Decimal
    source: str
    at_ms: int


async def make_portfolio(
    pool: Pool, redis: Redis, account: AccountRow, method: CostMethod, now_ms: int
) -> Portfolio:
    """Positions against the balances last read, at the newest prices known here. `now_ms`: market time."""
    ledger = Ledger(method)
    async with pool.connection() as connection:
        async for fill, fee_quote in stream_fills(connection, account.id):
            ledger.apply(fill, fee_quote)
        balances, seen_ms = await read_balances(connection, account.id)
        listed = await load_symbols(connection, account.exchange_id)
        row = next(one for one in await load_exchanges(connection) if one.id == account.exchange_id)
    main = _main_quotes(listed, {one.currency for one in balances})
    symbols = {(one.base, one.quote): one.alias_of or one.symbol for one in listed}
    wanted = {pair: symbols[pair] for pair in (*ledger.books, *main.items()) if pair in symbols}
    found = await _overview(redis, row, sorted(set(wanted.values())))
    prices = await _prices(pool, row, sorted(set(wanted.values())), found)
    known = {pair: prices[symbol].price for pair, symbol in wanted.items() if symbol in prices}
    held: Sequence[Balance] | None = balances if seen_ms is not None else None
    positions = [
        _held(position, wanted.get((position.base, position.quote), ""), prices, row, found, now_ms)
        for position in positions_of(ledger, held, known, main, CASH)
    ]
    return Portfolio(account, method, ledger.fills, seen_ms, positions)


def _main_quotes(listed: Sequence[SymbolRow], assets: Iterable[str]) -> dict[str, str]:
    """The quote currency of each asset's main market; where none is ranked, of one in money."""
    ranked = main_markets(listed)
    in_money: dict[str, str] = {}
    for one in sorted(listed, key=lambda one: (one.trading, one.quote == "USD"), reverse=True):
        if one.quote in CASH:
            in_money.setdefault(one.base, one.quote)
    quotes = {base: one.quote for base, one in ranked.items()}
    return {asset: quotes[asset] if asset in quotes else in_money[asset]
            for asset in assets if asset in quotes or asset in in_money}  # fmt: skip


def _held(
    position: Position,
    symbol: str,
    prices: Mapping[str, _Price],
    row: ExchangeRow,
    found: Overview,
    now_ms: int,
) -> HeldPosition:
    price = prices.get(symbol)
    if position.held_as is HeldAs.CASH:
        signal = portfolio_signal({}, dict.fromkeys(Timeframe, "cash"))
    else:
        signal = outlook(cells_of(row, _indicators(row, symbol, found), now_ms))
    if price is None:
        return HeldPosition(position, symbol, "", None, None, signal)
    age_ms = max(0, now_ms - price.at_ms)
    return HeldPosition(position, symbol, price.source, price.at_ms, age_ms, signal)


async def _overview(redis: Redis, row: ExchangeRow, symbols: Sequence[str]) -> Overview:
    series = [SeriesId(row.id, symbol, timeframe) for symbol in symbols for timeframe in row.live_timeframes]
    return await read_overview(redis, series, [(row.id, symbol) for symbol in symbols])


def _indicators(row: ExchangeRow, symbol: str, found: Overview) -> dict[Timeframe, Mapping[str, Any]]:
    keys = [SeriesId(row.id, symbol, timeframe) for timeframe in row.live_timeframes]
    return {key.timeframe: found.indicators[key] for key in keys if key in found.indicators}


async def _prices(pool: Pool, row: ExchangeRow, symbols: Sequence[str], found: Overview) -> dict[str, _Price]:
    """The ticker's price, else the newest stored close of any timeframe."""
    prices = {
        symbol: _Price(Decimal(ticker.price), "ticker", ticker.ts)
        for (_, symbol), ticker in found.tickers.items()
    }
    missing = [symbol for symbol in symbols if symbol not in prices]
    if not missing:
        return prices
    table = CandleTable(pool)
    newest: dict[str, tuple[int, int, Timeframe]] = {}
    for timeframe in row.timeframes:
        for symbol, open_ms in (await table.newest(row.id, missing, timeframe)).items():
            at = (open_ms + timeframe.ms, open_ms, timeframe)
            newest[symbol] = max(newest.get(symbol, at), at, key=lambda one: one[0])
    for symbol, (end_ms, open_ms, timeframe) in newest.items():
        closes = await table.closes(row.id, symbol, timeframe, [open_ms])
        prices[symbol] = _Price(closes[open_ms], "candle_close", end_ms)
    return prices
