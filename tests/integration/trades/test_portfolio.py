"""A portfolio: every balance shown, priced and signalled as on the board; what is old is told as old."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal

import psycopg
import pytest
import redis.asyncio

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.alert_rows import indicator_facts
from livermore_dagster.ingest.series_fold import SeriesFold
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.cost_basis import CostMethod, HeldAs
from livermore_dagster.market.macdv import MacdvPoint
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.market.trades import Balance, Fill, Liquidity, Side
from livermore_dagster.platform.board import read_board
from livermore_dagster.stores.postgres.balances import replace_balances
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import Pool, open_pool
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.postgres.fills import insert_fills
from livermore_dagster.stores.postgres.symbols import SymbolRow, upsert_symbols
from livermore_dagster.stores.postgres.user_exchanges import AccountRow, read_accounts, upsert_account
from livermore_dagster.stores.postgres.users import User, insert_user
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.tickers import Ticker, write_tickers
from livermore_dagster.trades.portfolio import HeldPosition, Portfolio, make_portfolio

NOW_MS = 1_767_655_800_000
ROW = next(row for row in ROWS if row.name == "binance")
H1 = Timeframe.H1
SYMBOLS = [
    SymbolRow("BTCUSDT", "BTC", "USDT", True, volume_rank=1),
    SymbolRow("ETHUSDT", "ETH", "USDT", True, volume_rank=2),
    SymbolRow("SOLUSDC", "SOL", "USDC", True),
    SymbolRow("SOLBTC", "SOL", "BTC", True),
    SymbolRow("SOLETH", "SOL", "ETH", True),
]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await upsert_rows(connection, [ROW])
        await upsert_symbols(connection, ROW.id, SYMBOLS)
    pool = await open_pool(database_url, None)
    yield pool
    await pool.close()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = connect_async(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def account(pool: Pool) -> AccountRow:
    """Bought 2 BTC at 100 USDT, and half a SOL for a hundredth of an ETH."""
    async with pool.connection() as connection:
        user = await insert_user(connection, User(0, "local", "ana", "", "Ana", None, "admin"))
        assert user is not None
        account_id = await upsert_account(connection, user, ROW.id, "KEY", "SECRET", ["BTCUSDT", "SOLETH"])
        await insert_fills(
            connection,
            account_id,
            [bought("1", "BTC", "USDT", "2", "100"), bought("2", "SOL", "ETH", "0.5", "0.02")],
        )
    async with pool.connection() as connection:
        return (await read_accounts(connection))[0]


def bought(fill_id: str, base: str, quote: str, size: str, price: str) -> Fill:
    value = Decimal(size) * Decimal(price)
    return Fill(
        fill_id, f"o{fill_id}", base + quote, base, quote, Side.BUY, 1, Decimal(price), Decimal(size), value,
        Decimal(0), quote, Liquidity.TAKER,
    )  # fmt: skip


async def hold(pool: Pool, account: AccountRow, **sizes: str) -> None:
    async with pool.connection() as connection:
        balances = [Balance(name, Decimal(size), Decimal(0)) for name, size in sizes.items()]
        await replace_balances(connection, account.id, balances, 7)


async def trend(client: redis.asyncio.Redis, symbol: str, ended_ms: int) -> None:
    """Values of 1h, 4h and 1d that make a STRONG BUY, of the candles that ended last at that time."""
    for timeframe in (Timeframe.H1, Timeframe.H4, Timeframe.D1):
        open_ms = timeframe.open_of(ended_ms) - timeframe.ms
        point = MacdvPoint(open_ms, 60.0, 50.0, 10.0, True, 250, 250, 0, None)
        fold = SeriesFold(symbol, timeframe, watermark=open_ms)
        facts = json.dumps(indicator_facts(ROW, fold, point, "101.5"))
        await client.set(keys.indicator(ROW.id, symbol, timeframe), facts)


async def close(pool: Pool, symbol: str, timeframe: Timeframe, end_ms: int, price: str) -> None:
    candle = Candle(end_ms - timeframe.ms, price, price, price, price, "1")
    stamped = StampedCandle(symbol, timeframe, candle, Rank.FINAL, end_ms, Origin.LIVE)
    await CandleTable(pool).upsert(ROW.id, [stamped])


async def made(pool: Pool, client: redis.asyncio.Redis, account: AccountRow) -> Portfolio:
    return await make_portfolio(pool, client, account, CostMethod.FIFO, NOW_MS)


def by_asset(found: Portfolio) -> dict[str, HeldPosition]:
    return {one.position.base: one for one in found.positions}


async def test_every_balance_is_shown_and_what_has_a_market_has_a_price(
    pool: Pool, client: redis.asyncio.Redis, account: AccountRow
) -> None:
    await hold(pool, account, BTC="2", ETH="3", SOL="0.5", USDT="1000")
    ticker = Ticker("ETHUSDT", "3000", None, None, None, None, None, None, None, NOW_MS)
    await write_tickers(client, ROW.id, ROW.name, [ticker])
    held = by_asset(await made(pool, client, account))
    assert set(held) == {"BTC", "ETH", "SOL", "USDT"}
    ether, cash = held["ETH"].position, held["USDT"].position
    assert (ether.held_as, ether.quote, ether.size, ether.value) == (HeldAs.OTHER, "USDT", 3, 9000)
    assert held["ETH"].symbol == "ETHUSDT"
    assert (cash.held_as, cash.size, cash.price, cash.cost) == (HeldAs.CASH, 1000, None, None)
    assert held["USDT"].signal.reason.endswith("cash")


async def test_without_a_ranked_market_one_in_money_is_taken(
    pool: Pool, client: redis.asyncio.Redis, account: AccountRow
) -> None:
    await hold(pool, account, SOL="1.5")
    await close(pool, "SOLUSDC", H1, H1.open_of(NOW_MS), "150")
    rest = next(
        one for one in (await made(pool, client, account)).positions
        if one.position.base == "SOL" and one.position.held_as is HeldAs.OTHER
    )  # fmt: skip
    assert (rest.symbol, rest.position.size, rest.position.value) == ("SOLUSDC", 1, 150)


async def test_what_was_never_read_is_not_gone(
    pool: Pool, client: redis.asyncio.Redis, account: AccountRow
) -> None:
    found = await made(pool, client, account)
    assert found.balances_ms is None
    bitcoin = by_asset(found)["BTC"].position
    assert (bitcoin.size, bitcoin.balance, bitcoin.transferred) == (2, None, "")
    await hold(pool, account)
    found = await made(pool, client, account)
    assert found.balances_ms == 7
    bitcoin = by_asset(found)["BTC"].position
    assert (bitcoin.size, bitcoin.balance, bitcoin.transferred) == (0, 0, "out")


async def test_signal_and_price_are_the_boards_and_say_when_they_are_old(
    pool: Pool, client: redis.asyncio.Redis, account: AccountRow
) -> None:
    await trend(client, "BTCUSDT", NOW_MS)
    await close(pool, "BTCUSDT", Timeframe.M1, NOW_MS - 30 * 86_400_000, "90")
    await close(pool, "BTCUSDT", H1, H1.open_of(NOW_MS), "110")
    fresh = by_asset(await made(pool, client, account))["BTC"]
    assert fresh.signal.label == "STRONG BUY"
    assert fresh.position.price == 110, "the newest close, of whatever timeframe"
    assert fresh.price_age_ms == NOW_MS - H1.open_of(NOW_MS)
    assert fresh.price_is_old

    await trend(client, "BTCUSDT", NOW_MS - 9 * 86_400_000)
    stale = by_asset(await made(pool, client, account))["BTC"]
    assert (stale.signal.label, stale.signal.reason) == ("No Data", "1h, 4h, 1d: stale")
    (board,) = await read_board(client, [ROW], NOW_MS, symbols={ROW.id: ["BTCUSDT"]})
    assert (board.portfolio, board.portfolio_reason) == (stale.signal.label, stale.signal.reason)
