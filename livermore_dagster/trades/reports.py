"""Fee reports and positions out of what is stored of an account; nothing here asks the exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection
from redis.asyncio import Redis

from livermore_dagster.errors import BadSetting
from livermore_dagster.market.cost_basis import CostMethod, Ledger, Position, positions_of
from livermore_dagster.market.fees import FeeReport, MonthBy, ReportFacts, fee_report
from livermore_dagster.market.portfolio import PORTFOLIO_TIMEFRAMES, PortfolioSignal, portfolio_signal
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.account_reads import read_progress
from livermore_dagster.stores.postgres.aside_entries import count_aside_entries
from livermore_dagster.stores.postgres.balances import read_balances
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.exchanges import load_exchanges
from livermore_dagster.stores.postgres.fee_cells import gather_fees
from livermore_dagster.stores.postgres.fee_tiers import read_fee_tiers
from livermore_dagster.stores.postgres.fills import stream_fills
from livermore_dagster.stores.postgres.indicators import read_indicators
from livermore_dagster.stores.postgres.symbols import load_symbols
from livermore_dagster.stores.postgres.user_exchanges import AccountRow
from livermore_dagster.stores.redis.tickers import read_tickers
from livermore_dagster.trades.fee_text import tier_told

__all__ = ["HeldPosition", "Portfolio", "ReportWish", "make_fee_report", "make_portfolio"]


@dataclass(frozen=True, slots=True)
class ReportWish:
    """What a fee report shall span. `rates`: price of each quote currency in `currency`, as stated."""

    month_by: MonthBy = MonthBy.FILLED
    since_ms: int | None = None
    until_ms: int | None = None
    symbol: str | None = None
    currency: str | None = None
    rates: Mapping[str, Decimal] | None = None


async def make_fee_report(
    connection: AsyncConnection[Any], account: AccountRow, now_ms: int, wish: ReportWish | None = None
) -> FeeReport:
    """Raises BadSetting where a currency's rate is needed and not stated."""
    asked = wish or ReportWish()
    gathered = await gather_fees(
        connection,
        account.id,
        month_by=asked.month_by,
        since_ms=asked.since_ms,
        until_ms=asked.until_ms,
        symbol=asked.symbol,
    )
    tiers = await read_fee_tiers(connection, account.id)
    progress = await read_progress(connection, account.id)
    aside = await count_aside_entries(
        connection, account.id, since_ms=asked.since_ms, until_ms=asked.until_ms, symbol=asked.symbol
    )
    facts = ReportFacts(
        exchange=account.exchange,
        account=account.key,
        generated_ms=now_ms,
        month_by=asked.month_by,
        since_ms=asked.since_ms,
        until_ms=asked.until_ms,
        symbol=asked.symbol,
        first_ms=gathered.first_ms,
        last_ms=gathered.last_ms,
        tier=tier_told(tiers),
        complete=bool(progress) and all(read.complete for read in progress.values()),
        aside=aside,
    )
    try:
        return fee_report(
            gathered.cells, facts, gathered.unconverted, currency=asked.currency, rates=asked.rates
        )
    except KeyError as missing:
        quote = missing.args[0]
        raise BadSetting(
            f"The report has amounts in {quote}, and no rate for it was stated.",
            f"State what one {quote} is in {asked.currency}: --rate {quote}=…",
        ) from None


@dataclass(frozen=True, slots=True)
class HeldPosition:
    """A position, the symbol it is traded by, how old its price is, and its signal (S10)."""

    position: Position
    symbol: str
    price_source: str
    """'ticker', 'candle_close' or '' without a price."""
    price_ms: int | None
    signal: PortfolioSignal


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


async def make_portfolio(pool: Pool, redis: Redis, account: AccountRow, method: CostMethod) -> Portfolio:
    """Positions against the balances last read, at the newest prices known here."""
    ledger = Ledger(method)
    async with pool.connection() as connection:
        async for fill, fee_quote in stream_fills(connection, account.id):
            ledger.apply(fill, fee_quote)
        balances, seen_ms = await read_balances(connection, account.id)
        listed = await load_symbols(connection, account.exchange_id)
    symbols = {(one.base, one.quote): one.alias_of or one.symbol for one in listed}
    wanted = {key: symbols[key] for key in ledger.books if key in symbols}
    prices = await _prices(pool, redis, account.exchange_id, sorted(set(wanted.values())))
    known = {key: prices[symbol].price for key, symbol in wanted.items() if symbol in prices}
    signals = await _signals(pool, account.exchange_id, sorted(set(wanted.values())))
    held = []
    for position in positions_of(ledger, balances, known):
        symbol = wanted.get((position.base, position.quote), "")
        price = prices.get(symbol)
        held.append(
            HeldPosition(
                position, symbol, price.source if price else "", price.at_ms if price else None,
                signals.get(symbol) or portfolio_signal({}),
            )
        )  # fmt: skip
    return Portfolio(account, method, ledger.fills, seen_ms, held)


async def _prices(pool: Pool, redis: Redis, exchange_id: int, symbols: list[str]) -> dict[str, _Price]:
    """The ticker's price, else the newest stored close of the shortest timeframe there is."""
    tickers = await read_tickers(redis, exchange_id, symbols)
    found = {symbol: _Price(Decimal(one.price), "ticker", one.ts) for symbol, one in tickers.items()}
    table = CandleTable(pool)
    for timeframe in Timeframe:
        missing = [symbol for symbol in symbols if symbol not in found]
        if not missing:
            break
        for symbol, open_ms in (await table.newest(exchange_id, missing, timeframe)).items():
            closes = await table.closes(exchange_id, symbol, timeframe, [open_ms])
            found[symbol] = _Price(closes[open_ms], "candle_close", open_ms + timeframe.ms)
    return found


async def _signals(pool: Pool, exchange_id: int, symbols: list[str]) -> dict[str, PortfolioSignal]:
    found = {}
    async with pool.connection() as connection:
        rows = {row.id: row for row in await load_exchanges(connection)}
        for symbol in symbols:
            values: dict[Timeframe, float | None] = {}
            reasons: dict[Timeframe, str] = {}
            for timeframe in PORTFOLIO_TIMEFRAMES:
                if timeframe not in rows[exchange_id].timeframes:
                    reasons[timeframe] = "unsupported"
                    continue
                newest = await read_indicators(connection, exchange_id, symbol, timeframe, limit=1)
                values[timeframe] = newest[-1].macdv if newest else None
                reasons[timeframe] = (newest[-1].reason if newest else None) or "no value yet"
            found[symbol] = portfolio_signal(values, reasons)
    return found
