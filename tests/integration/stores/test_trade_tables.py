"""Trades in PostgreSQL: stored once, summed exactly as in memory, converted only where a rate is known."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.fees import FeeCell, MonthBy, ReportFacts, cells_of, fee_report
from livermore_dagster.market.trades import Balance, FeeTier, Fill, Liquidity, Order, Side
from livermore_dagster.stores.postgres.account_reads import AccountRead, read_progress, write_progress
from livermore_dagster.stores.postgres.balances import read_balances, replace_balances
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.fee_cells import gather_fees
from livermore_dagster.stores.postgres.fee_tiers import insert_fee_tier, newest_fee_tiers, read_fee_tiers
from livermore_dagster.stores.postgres.fills import (
    ConvertedFee,
    convert_fees,
    insert_fills,
    priceless_fees,
    stream_fills,
    sum_fills,
    unconverted_fills,
)
from livermore_dagster.stores.postgres.orders import (
    count_trades,
    find_differences,
    unsettled_orders,
    upsert_orders,
)
from livermore_dagster.stores.postgres.user_exchanges import delete_account, read_accounts, upsert_account
from livermore_dagster.stores.postgres.users import User, insert_user

JANUARY_MS = 1_767_225_600_000
DAY_MS = 86_400_000


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[AsyncConnection[Any]]:
    async with pool.connection() as connection:
        yield connection


@pytest.fixture
async def account(connection: AsyncConnection[Any]) -> int:
    user = await insert_user(connection, User(0, "local", "ana", "", "Ana", None, "admin"))
    assert user is not None
    account_id = await upsert_account(connection, user, 2, "KEY", "SECRET", ["BTCUSDT"])
    await connection.commit()
    return account_id


def fills(count: int, seed: int = 5) -> list[Fill]:
    """Orders of up to four fills over a year of months, in two currencies, one in seven fees in BNB."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        order = number // draw.choice([1, 2, 4])
        base, quote = ("AAA", "BBB")[order % 2], ("USD", "USDC")[order % 3 % 2]
        price, size = (Decimal(draw.randrange(1, 10**12)).scaleb(-8) for _ in range(2))
        with exact():
            value = price * size
            fee = value * Decimal("0.0012")
        in_bnb = number % 7 == 0
        found.append(
            Fill(
                f"f{number}", f"o{order}", f"{base}-{quote}", base, quote,
                Side.BUY if order % 4 < 2 else Side.SELL, JANUARY_MS + number * 366 * DAY_MS // count, price,
                size, value, Decimal("0.0001") if in_bnb else fee, "BNB" if in_bnb else quote,
                draw.choice(list(Liquidity)),
            )
        )  # fmt: skip
    return found


def order_of(own: list[Fill], settled: bool = True, created_ms: int = JANUARY_MS) -> Order:
    with exact():
        size, value = sum(one.size for one in own), sum(one.value for one in own)
        fee = sum(one.fee for one in own)
    first = own[0]
    return Order(
        first.order_id, first.symbol, first.base, first.quote, first.side, "LIMIT",
        "FILLED" if settled else "OPEN", created_ms, own[-1].filled_ms, Decimal(size), Decimal(value), None,
        Decimal(fee), first.quote, len(own), settled,
    )  # fmt: skip


def in_quote(fill: Fill) -> Decimal | None:
    return None if fill.fee_currency == "BNB" else fill.fee


def normal(cells: list[FeeCell]) -> list[FeeCell]:
    return sorted(cells, key=lambda cell: (cell.quote, cell.symbol, cell.side, cell.month))


async def test_the_database_sums_what_memory_sums(connection: AsyncConnection[Any], account: int) -> None:
    given = fills(900)
    random.Random(1).shuffle(given)
    for start in range(0, 900, 97):
        await insert_fills(connection, account, given[start : start + 97])
    gathered = await gather_fees(connection, account)
    assert normal(gathered.cells) == normal(cells_of(given, in_quote))
    assert (gathered.first_ms, gathered.last_ms) == (
        min(one.filled_ms for one in given),
        max(one.filled_ms for one in given),
    )
    assert [(one.currency, one.fills) for one in gathered.unconverted] == [("BNB", 129)]
    assert gathered.unconverted[0].amount == Decimal("0.0129")
    straight = {one.quote: one for one in await sum_fills(connection, account)}
    for line in fee_report(gathered.cells, ReportFacts("", "", 0)).totals:
        sums = straight[line.quote]
        assert (line.volume, line.fees, line.fills, line.orders) == (
            sums.volume, sums.fees, sums.fills, sums.orders,
        )  # fmt: skip


async def test_a_range_and_a_symbol(connection: AsyncConnection[Any], account: int) -> None:
    given = fills(300)
    await insert_fills(connection, account, given)
    since, until = JANUARY_MS + 40 * DAY_MS, JANUARY_MS + 200 * DAY_MS
    gathered = await gather_fees(connection, account, since_ms=since, until_ms=until, symbol="AAA-USD")
    inside = [one for one in given if since <= one.filled_ms < until and one.symbol == "AAA-USD"]
    assert normal(gathered.cells) == normal(cells_of(inside, in_quote))


async def test_months_by_creation_of_the_order(connection: AsyncConnection[Any], account: int) -> None:
    given = [replace(one, fee_currency=one.quote) for one in fills(200)]
    by_order: dict[tuple[str, str], list[Fill]] = {}
    for one in given:
        by_order.setdefault((one.symbol, one.order_id), []).append(one)
    created = {
        key: own[0].filled_ms - 20 * DAY_MS
        for number, (key, own) in enumerate(by_order.items())
        if number % 5
    }
    orders = [order_of(own, created_ms=created[key]) for key, own in by_order.items() if key in created]
    await insert_fills(connection, account, given)
    await upsert_orders(connection, account, orders)
    gathered = await gather_fees(connection, account, month_by=MonthBy.CREATED)
    expected = cells_of(given, lambda one: one.fee, lambda one: created.get((one.symbol, one.order_id)))
    assert normal(gathered.cells) == normal(expected)
    since = JANUARY_MS + 100 * DAY_MS
    gathered = await gather_fees(connection, account, month_by=MonthBy.CREATED, since_ms=since)
    later = [one for one in given if created.get((one.symbol, one.order_id), 0) >= since]
    assert sum(cell.fills for cell in gathered.cells) == len(later)


async def test_a_fill_is_stored_once_and_never_changes(
    connection: AsyncConnection[Any], account: int
) -> None:
    given = fills(20)
    assert (await insert_fills(connection, account, given)).new == 20
    again = await insert_fills(connection, account, given)
    assert (again.new, again.changed) == (0, ())
    other = replace(given[3], fee=given[3].fee + 1)
    told = await insert_fills(connection, account, [other])
    assert told.changed == (f"{other.symbol} {other.fill_id}",)
    kept = [fill async for fill, _ in stream_fills(connection, account)]
    assert sorted(kept, key=lambda one: int(one.fill_id[1:])) == given


async def test_fees_are_converted_where_the_rate_is_known(
    connection: AsyncConnection[Any], account: int
) -> None:
    base = replace(fills(2)[1], fill_id="base", fee=Decimal("0.01"), fee_currency="BBB")
    base = replace(base, base="BBB", price=Decimal("12.5"))
    third = replace(base, fill_id="third", fee_currency="BNB")
    await insert_fills(connection, account, [base, third])
    waiting = await unconverted_fills(connection, account, 10)
    assert [(one.fill_id, one.fee_currency) for one in waiting] == [("third", "BNB")]
    key = waiting[0].symbol, waiting[0].fill_id
    await convert_fees(connection, account, [ConvertedFee(*key, None, "unconverted: no market BNB/USD")])
    assert await unconverted_fills(connection, account, 10) == [], "not asked a second time"
    assert [one.reason for one in await priceless_fees(connection, account)] == [
        "unconverted: no market BNB/USD"
    ]
    await convert_fees(connection, account, [ConvertedFee(*key, Decimal("6.1"), "candle:BNBUSD:1m:0")])
    known = {fill.fill_id: fee async for fill, fee in stream_fills(connection, account)}
    assert known == {"base": Decimal("0.125"), "third": Decimal("6.1")}


async def test_an_order_changes_forward_only(connection: AsyncConnection[Any], account: int) -> None:
    own = fills(4, seed=2)[:1]
    early = replace(order_of(own, settled=False), filled_size=Decimal(0), fill_count=0)
    done = order_of(own)
    assert (await upsert_orders(connection, account, [early])).new == 1
    assert await unsettled_orders(connection, account) == [(JANUARY_MS, early.order_id)]
    assert (await upsert_orders(connection, account, [done, early])).changed == 1
    assert await unsettled_orders(connection, account) == []
    written = await upsert_orders(connection, account, [early])
    assert (written.new, written.changed) == (0, 0), "an older page says nothing new"
    assert await count_trades(connection, account) == (1, 0)
    # Cancelled without a fill: its size never tells which page is older.
    gone = replace(early, order_id="gone", status="CANCELLED", settled=True)
    still_open = replace(gone, status="OPEN", settled=False)
    await upsert_orders(connection, account, [gone, still_open])
    assert await unsettled_orders(connection, account) == []
    written = await upsert_orders(connection, account, [still_open])
    assert (written.new, written.changed) == (0, 0), "what is settled stays so"


async def test_orders_that_their_fills_contradict_are_found(
    connection: AsyncConnection[Any], account: int
) -> None:
    plain = [replace(one, fee_currency=one.quote) for one in fills(40)]
    plain = [replace(one, order_id=f"o{number}", fill_id=f"f{number}") for number, one in enumerate(plain)]
    orders = [order_of([one]) for one in plain]
    orders[3] = replace(orders[3], filled_value=orders[3].filled_value * Decimal("1.00001"))
    orders[5] = replace(orders[5], fee=(orders[5].fee or Decimal(0)) + 1)
    orders[7] = replace(orders[7], fill_count=2)
    orders[13] = replace(orders[13], filled_size=orders[13].filled_size * Decimal("1.00001"))
    # Sizes of fills that are told in quote are quotients: never the order's to the last digit.
    orders[15] = replace(orders[15], filled_size=orders[15].filled_size * Decimal("1.0000000001"))
    del orders[9]
    missing = plain.pop(11)
    await insert_fills(connection, account, plain)
    await upsert_orders(connection, account, orders)
    found = {one.order_id: one.difference for one in await find_differences(connection, account)}
    assert found == {
        "o3": "value",
        "o5": "fee",
        "o7": "number of fills",
        "o9": "its order is not known",
        "o13": "size",
        missing.order_id: "its fills are not known",
    }


async def test_progress_tiers_and_balances(connection: AsyncConnection[Any], account: int) -> None:
    read = AccountRead("fills", "BTCUSDT", under_way=True, since_ms=17, pages=3, newest_ms=5)
    await write_progress(connection, account, read)
    read = replace(read, under_way=False, complete=True)
    await write_progress(connection, account, read)
    assert await read_progress(connection, account) == {("fills", "BTCUSDT"): read}
    tier = FeeTier("VIP 1", Decimal("0.0009"), Decimal("0.001"), None, None, None)
    assert await insert_fee_tier(connection, account, tier, 1)
    assert not await insert_fee_tier(connection, account, tier, 2), "nothing new"
    assert await insert_fee_tier(connection, account, replace(tier, name="VIP 2"), 3)
    assert await insert_fee_tier(connection, account, tier, 2, "BTCUSDT")
    seen = await read_fee_tiers(connection, account, 9)
    assert [(one.market, one.tier.name) for one in seen] == [
        ("", "VIP 2"), ("BTCUSDT", "VIP 1"), ("", "VIP 1"),
    ]  # fmt: skip
    assert await read_fee_tiers(connection, account, 2) == seen[:2]
    assert await newest_fee_tiers(connection, account) == seen[:2], "of each market the newest"
    assert await read_balances(connection, account) == ([], None), "never read"
    await replace_balances(
        connection,
        account,
        [Balance("BTC", Decimal("0.1"), Decimal(0)), Balance("USD", Decimal(5), Decimal(1))],
        7,
    )
    await replace_balances(connection, account, [Balance("USD", Decimal(4), Decimal(2))], 8)
    assert await read_balances(connection, account) == ([Balance("USD", Decimal(4), Decimal(2))], 8)
    await replace_balances(connection, account, [], 9)
    assert await read_balances(connection, account) == ([], 9), "read, and nothing is held"


async def test_an_account_names_variables_and_goes_with_all_that_was_read(
    connection: AsyncConnection[Any], account: int
) -> None:
    found = (await read_accounts(connection, sub="ana"))[0]
    assert (found.key, found.key_env, found.secret_env, found.markets, found.is_default) == (
        f"binance.{account}", "KEY", "SECRET", ("BTCUSDT",), True,
    )  # fmt: skip
    assert await upsert_account(connection, found.user_id, 2, "OTHER", "SECRET") == account
    await insert_fills(connection, account, fills(5))
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        async with connection.transaction():
            await insert_fills(connection, account + 1, fills(1))
    await delete_account(connection, account)
    assert await count_trades(connection, account) == (0, 0)
    assert await read_accounts(connection) == []
