"""A whole history read from a simulated exchange: complete, exact, resumed after kill -9, once."""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from assets.fee_checks import no_page_lost, none_set_aside
from livermore_dagster.clock import SystemClock
from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.incidents import IncidentName
from livermore_dagster.market.decimals import exact
from livermore_dagster.market.fee_estimate import FeeEstimate
from livermore_dagster.market.fees import FeeReport
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.market.trades import Side
from livermore_dagster.stores.postgres.orders import OrderDifference, find_differences
from livermore_dagster.stores.redis.metrics import read_incidents_sync
from livermore_dagster.trades.conversion import convert_third_asset_fees
from livermore_dagster.trades.estimates import EstimateWish, make_estimates
from livermore_dagster.trades.history import ReadReport, read_history
from livermore_dagster.trades.reports import make_fee_report
from livermore_dagster.trades.session import AccountSession
from livermore_dagster.trades.standing import read_held, read_tiers
from tests.integration.ingest.played import Platform, played, until
from tests.integration.trades.accounts import (
    create,
    environment,
    expected,
    in_session,
    place,
    register,
    reported,
    requests_sent,
    start_reader,
    told_lines,
    truth,
)

START_MS = 1_767_655_800_000
M1 = Timeframe.M1


async def read_all(
    session: AccountSession,
) -> tuple[ReadReport, ReadReport, FeeReport, list[OrderDifference]]:
    fills = await read_history(session, "fills")
    orders = await read_history(session, "orders")
    await convert_third_asset_fees(session)
    await read_tiers(session)
    await read_held(session)
    async with session.pool.connection() as connection:
        report = await make_fee_report(connection, session.account, SystemClock().now_ms())
        return fills, orders, report, await find_differences(connection, session.account.id)


@pytest.fixture
def coinbase(redis_url: str, database_url: str):
    with played(redis_url, database_url, ["coinbase"], 1.0, START_MS, symbols=170) as platform:
        yield platform


@pytest.fixture
def small(coinbase: Platform, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Makes the simulated account `small` and registers it, its variables set."""

    def made(**sizes: object) -> int:
        shown = create(coinbase, "coinbase", "small", symbols=12, days=60, **sizes)
        for name, value in environment("coinbase", shown).items():
            monkeypatch.setenv(name, value)
        return register(coinbase, "coinbase")

    return made


def assert_equal(report: FeeReport, told: dict[str, list[dict[str, str]]]) -> None:
    fills = told["fills"]
    assert reported(report, "by_symbol", "symbol") == expected(fills, "symbol")
    assert reported(report, "by_side", "symbol", "side") == expected(fills, "symbol", "side")
    assert reported(report, "by_month", "month") == expected(fills, "month")
    assert reported(report, "totals") == expected(fills)
    for line in report.totals:
        makers = [one for one in fills if one["quote"] == line.quote and one["liquidity"] == "maker"]
        with exact():
            assert line.maker_volume == sum((Decimal(one["value"]) for one in makers), Decimal(0))


def test_every_number_of_the_report_is_the_exchanges_after_a_kill_too(
    coinbase: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = create(coinbase, "coinbase", "trader", orders=1622, symbols=140, days=400)
    account = register(coinbase, "coinbase")
    secrets = environment("coinbase", shown)
    # The tenth page does not come before the kill, however late that is.
    coinbase.fault("coinbase", kind="fail_page", how="hang", skip=9, count=1)
    killed = start_reader(coinbase, "coinbase", account, secrets, str(tmp_path))
    assert killed.stdout is not None
    for _ in range(9):
        killed.stdout.readline()
    until(lambda: coinbase.ask("coinbase", "faults")[0]["done"] == 1, 60, "the tenth page is asked for")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = coinbase.query("SELECT pages, rows_received, under_way FROM account_reads WHERE kind = 'fills'")[0]
    assert kept[2]
    assert kept[0] == 9
    assert coinbase.query("SELECT count(*) FROM fills")[0][0] == kept[1]
    asked_before = requests_sent(coinbase, "coinbase", "fills")

    process = start_reader(coinbase, "coinbase", account, secrets, str(tmp_path))
    lines, errors = told_lines(process)
    assert process.returncode == 0, errors
    told = truth(coinbase, "coinbase", "trader")
    assert len(told["orders"]) == 1622
    assert len({order["symbol"] for order in told["orders"]}) == 140
    pages = -(-len(told["fills"]) // 100)
    done = next(line for line in lines if line[:2] == ["done", "fills"])
    assert done[5], "it went on where the killed one ended"
    # What is left of the history, and one page of what may have come since: no stored page again.
    assert done[2] == pages - kept[0] + 1
    assert requests_sent(coinbase, "coinbase", "fills") == asked_before + done[2]
    assert done[4] == len(told["fills"]) - kept[1]

    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    fills, orders, report, differences = in_session(coinbase, "coinbase", account, read_all)
    assert (fills.new, orders.new) == (0, 0)
    assert fills.pages == 1
    # The newest page, one for each order still open: what was cancelled is not looked up for ever.
    still_open = sum(order["status"] == "open" for order in told["orders"])
    assert orders.pages <= 1 + still_open
    assert coinbase.query("SELECT count(*) FROM orders WHERE NOT settled")[0][0] == still_open
    assert differences == []
    assert_equal(report, told)
    tier = report.facts.tier
    assert tier is not None
    assert (tier.name, tier.maker_rate, tier.taker_rate, tier.volume_30d) == (
        told["tier"]["name"], Decimal(told["tier"]["maker_rate"]), Decimal(told["tier"]["taker_rate"]),
        Decimal(told["tier"]["volume_30d"]),
    )  # fmt: skip
    held = coinbase.query("SELECT currency, available, hold FROM balances ORDER BY currency")
    assert {row[0]: row[1:] for row in held} == {
        one["currency"]: (Decimal(one["available"]), Decimal(one["hold"]))
        for one in told["balances"]
        if Decimal(one["available"]) or Decimal(one["hold"])
    }
    assert coinbase.ask("coinbase", "counters")["http_429"] == 0
    for text in (errors, *dumped(coinbase)):
        assert shown["secret"] not in text
        assert secrets["TEST_COINBASE_SECRET"] not in text
        assert shown["key"] not in text


def dumped(platform: Platform) -> list[str]:
    tables = ("user_exchanges", "account_reads", "orders", "fills", "fee_tiers", "balances")
    return [str(platform.query(f"SELECT {table}::text FROM {table}")) for table in tables]  # noqa: S608


@pytest.mark.parametrize("kind", ["fail_page", "repeat_cursor", "repeat_page", "change_order"])
def test_a_page_that_misbehaves_loses_nothing(
    coinbase: Platform, small: Callable[..., int], kind: str
) -> None:
    """It is asked again, or the run ends with words and the next one goes on from there."""
    account = small(orders=420)
    coinbase.fault("coinbase", kind=kind, skip=2, count=1)
    with suppress(ExchangeUnavailable):
        in_session(coinbase, "coinbase", account, read_all)
    _, _, report, differences = in_session(coinbase, "coinbase", account, read_all)
    assert differences == []
    assert_equal(report, truth(coinbase, "coinbase", "small"))
    reads = coinbase.query("SELECT kind, rows_new, complete FROM account_reads ORDER BY kind")
    told = truth(coinbase, "coinbase", "small")
    assert reads == [("fills", len(told["fills"]), True), ("orders", len(told["orders"]), True)]


def test_a_stored_place_that_the_exchange_knows_no_more_is_where_the_read_begins_anew(
    coinbase: Platform, small: Callable[..., int]
) -> None:
    account = small(orders=250)
    in_session(coinbase, "coinbase", account, read_all)
    with psycopg.connect(coinbase.database_url) as connection:
        connection.execute("UPDATE account_reads SET under_way = true, token = 'aged', complete = false")
        connection.execute("DELETE FROM fills WHERE fill_id IN (SELECT fill_id FROM fills LIMIT 40)")
    fills, orders, report, differences = in_session(coinbase, "coinbase", account, read_all)
    assert (fills.new, fills.begun_anew, orders.begun_anew) == (40, True, True)
    assert differences == []
    assert_equal(report, truth(coinbase, "coinbase", "small"))
    again, _, _, _ = in_session(coinbase, "coinbase", account, read_all)
    assert not again.begun_anew


def test_a_new_fill_and_a_changed_order_are_found_by_the_next_run(
    coinbase: Platform, small: Callable[..., int]
) -> None:
    account = small(orders=150, key_type="ed25519")
    in_session(coinbase, "coinbase", account, read_all)
    place(coinbase, "coinbase", account="small", symbol="BTC-USD", side="BUY", size="0.05")
    fills, orders, report, differences = in_session(coinbase, "coinbase", account, read_all)
    assert fills.new >= 1
    assert orders.new == 1
    unsettled = coinbase.query("SELECT count(*) FROM orders WHERE NOT settled")[0][0]
    assert orders.pages <= 1 + unsettled, "what is settled is not asked for again"
    assert fills.pages == 1, "only the newest page is asked for"
    assert differences == []
    assert_equal(report, truth(coinbase, "coinbase", "small"))


def test_entries_that_are_no_fills_are_set_aside_and_the_history_is_read_to_its_end(
    coinbase: Platform, small: Callable[..., int]
) -> None:
    account = small(orders=150)
    for trade_type in ("REVERSAL", "CORRECTION", "REVERSAL", "SYNTHETIC", "FILL"):
        wanted = {"symbol": "BTC-USD", "side": "BUY", "size": "0.01", "trade_type": trade_type}
        place(coinbase, "coinbase", account="small", **wanted)
    fills, _, report, differences = in_session(coinbase, "coinbase", account, read_all)
    told = truth(coinbase, "coinbase", "small")
    plain = [fill for fill in told["fills"] if fill["trade_type"] == "FILL"]
    odd = [fill for fill in told["fills"] if fill["trade_type"] != "FILL"]
    assert (fills.new, fills.aside, fills.rows) == (len(plain), 4, len(plain) + 4)
    assert_equal(report, {"fills": plain})
    assert report.facts.complete
    assert report.facts.aside == {"CORRECTION": 1, "REVERSAL": 2, "SYNTHETIC": 1}
    assert {one.order_id for one in differences} == {fill["order_id"] for fill in odd}

    passed, facts = in_session(coinbase, "coinbase", account, none_set_aside)
    assert not passed
    assert (facts["entries in no sum"], facts["REVERSAL"]) == (4, 2)
    assert in_session(coinbase, "coinbase", account, no_page_lost)[0]
    again, _, _, _ = in_session(coinbase, "coinbase", account, read_all)
    assert (again.new, again.aside) == (0, 0), "each is told once"
    assert coinbase.counters("coinbase")["fills_aside"] == 4
    with coinbase.redis() as client:
        (incident,) = [one for one in read_incidents_sync(client) if one.name == IncidentName.FILL_ASIDE]
    assert "CORRECTION, REVERSAL, SYNTHETIC" in incident.text


def test_binance_by_market_with_fees_in_bnb(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with played(redis_url, database_url, ["binance"], 1.0, START_MS, symbols=40) as platform:
        shown = create(platform, "binance", "trader", orders=400, symbols=10, days=90)
        told = truth(platform, "binance", "trader")
        markets = sorted({order["symbol"] for order in told["orders"]})
        account = register(platform, "binance", markets)
        for name, value in environment("binance", shown).items():
            monkeypatch.setenv(name, value)
        fills, _, report, differences = in_session(platform, "binance", account, read_all)
        assert fills.new == len(told["fills"])
        assert differences == []
        stored = platform.query(
            "SELECT symbol, fill_id, fee, fee_currency, fee_quote, fee_rate_source, filled_ms, quote"
            " FROM fills"
        )
        assert {(row[0], row[1]): (row[2], row[3]) for row in stored} == {
            (one["symbol"], one["fill_id"]): (Decimal(one["fee"]), one["fee_currency"])
            for one in told["fills"]
        }
        third = [row for row in stored if row[3] != row[7] and row[5].startswith("candle:")]
        assert third, "some fees were paid in BNB"
        for _, _, fee, currency, fee_quote, source, filled_ms, quote in random.Random(1).sample(third, 12):
            _, symbol, timeframe, opened = source.split(":")
            open_ms = int(opened)
            assert (symbol, timeframe) == (currency + quote, "1m")
            assert open_ms + M1.ms <= filled_ms < open_ms + 2 * M1.ms
            close = platform.truth("binance", symbol, M1, open_ms, open_ms + M1.ms)[open_ms][3]
            assert fee_quote == fee * Decimal(close)
        volume = {key: sums[2] for key, sums in expected(told["fills"], "symbol").items()}
        assert {key: sums[2] for key, sums in reported(report, "by_symbol", "symbol").items()} == volume
        again, _, _, _ = in_session(platform, "binance", account, read_all)
        assert (again.new, again.rows) == (0, 0), "ids go on after the last one"
        place(platform, "binance", account="trader", symbol=markets[0], side="BUY")
        after, _, _, differences = in_session(platform, "binance", account, read_all)
        assert after.new >= 1
        assert differences == []
        assert platform.ask("binance", "counters")["http_429"] == 0


def test_a_candle_may_come_late_and_a_product_may_be_gone(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with played(redis_url, database_url, ["binance"], 1.0, START_MS, symbols=40) as platform:
        shown = create(platform, "binance", "trader", orders=200, symbols=6, days=30)
        markets = sorted({order["symbol"] for order in truth(platform, "binance", "trader")["orders"]})
        account = register(platform, "binance", markets)
        for name, value in environment("binance", shown).items():
            monkeypatch.setenv(name, value)
        in_session(platform, "binance", account, read_all)
        (*young, quote), (*old, _), *rest = platform.query(
            "SELECT symbol, fill_id, quote FROM fills WHERE fee_rate_source LIKE 'candle:%%'"
            " ORDER BY quote, filled_ms DESC"
        )
        assert rest, "some fees were paid in BNB"
        own = "WHERE symbol = %s AND fill_id = %s"
        lacking = f"UPDATE fills SET fee_quote = NULL, fee_rate_source = %s, filled_ms = %s {own}"  # noqa: S608
        now_ms = platform.market_now("binance")
        for fill, hours in ((young, 2), (old, 25)):
            platform.execute(lacking, "unconverted: no candle x", now_ms - hours * 3_600_000, *fill)
        assert in_session(platform, "binance", account, convert_third_asset_fees) == 1
        source = f"SELECT fee_rate_source FROM fills {own}"  # noqa: S608
        assert platform.query(source, *young)[0][0].startswith("candle:"), "it came late"
        assert platform.query(source, *old)[0][0] == "unconverted: no candle x", "not late any more"

        gone = "UPDATE exchange_symbols SET symbol = 'BNBGONE' WHERE base = 'BNB' AND quote = %s"
        platform.execute(gone, quote)
        platform.execute(lacking, "unconverted", now_ms, *young)
        assert in_session(platform, "binance", account, convert_third_asset_fees) == 0
        (reason,) = platform.query(source, *young)[0]
        assert reason.startswith("unconverted: binance tells no candles of BNBGONE: "), reason


def test_one_tier_holds_for_all_markets_and_a_market_never_read_is_missed(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with played(redis_url, database_url, ["binance_us"], 1.0, START_MS, symbols=40) as platform:
        shown = create(platform, "binance_us", "trader", orders=60, symbols=3, days=20)
        markets = sorted({order["symbol"] for order in truth(platform, "binance_us", "trader")["orders"]})
        for name, value in environment("binance_us", shown).items():
            monkeypatch.setenv(name, value)
        account = register(platform, "binance_us", markets[:1])
        _, _, report, _ = in_session(platform, "binance_us", account, read_all)
        assert report.facts.complete
        assert platform.query("SELECT market, name FROM fee_tiers") == [("", "account")]
        assert requests_sent(platform, "binance_us", "fee_tier") == 1

        register(platform, "binance_us", markets)
        lacking = in_session(platform, "binance_us", account, report_of)
        assert not lacking.facts.complete, "two markets were never read"
        assert not in_session(platform, "binance_us", account, no_page_lost)[0]
        in_session(platform, "binance_us", account, read_all)
        assert in_session(platform, "binance_us", account, report_of).facts.complete
        assert requests_sent(platform, "binance_us", "fee_tier") == 2, "one for all three"

        platform.execute("UPDATE account_reads SET complete = false WHERE market = %s", markets[0])
        register(platform, "binance_us", markets[1:])
        assert in_session(platform, "binance_us", account, report_of).facts.complete
        _, known = in_session(platform, "binance_us", account, estimated_of(markets[0]))
        assert known.tier_from == f"tier of account binance_us.{account}"


async def report_of(session: AccountSession) -> FeeReport:
    async with session.pool.connection() as connection:
        return await make_fee_report(connection, session.account, SystemClock().now_ms())


def estimated_of(
    symbol: str,
) -> Callable[[AccountSession], Awaitable[tuple[list[FeeEstimate], EstimateWish]]]:
    async def work(session: AccountSession) -> tuple[list[FeeEstimate], EstimateWish]:
        wish = EstimateWish(symbol, Decimal(1000), Side.BUY, round_trip=False, preset=None)
        async with session.pool.connection() as connection:
            return await make_estimates(connection, wish, "binance_us", "ana")

    return work
