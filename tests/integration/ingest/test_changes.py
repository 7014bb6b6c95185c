"""Changes of what is monitored and cached, where something is in their way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from livermore_dagster.control.commands.message import Command, CommandType
from livermore_dagster.control.commands.sender import Verdict
from livermore_dagster.control.states import InstanceState
from livermore_dagster.ingest.backfill import BackfillReport, backfill
from livermore_dagster.ingest.cache_commands import clear_cache
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.symbols import refresh_products
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice, write_desired_sync
from livermore_dagster.trades.standing import read_held
from tests.integration.ingest.agreeing import agree, by_the_stores, ranked, running, set_symbols
from tests.integration.ingest.commanding import becomes, done, order, sockets, status
from tests.integration.ingest.played import IDS, Platform, played, until
from tests.integration.trades.accounts import create, environment, in_session, place, register

START_MS = 1_767_700_830_000  # 2026-01-06T12:00:30Z
M1, M5 = Timeframe.M1, Timeframe.M5
BINANCE = IDS["binance"]
SHORT = Patience(change_s=1.5, again_s=2.0)
TOP3 = Desired("running", SymbolChoice(top=3), "ana")


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["binance"], 1.0, START_MS) as platform:
        asyncio.run(set_symbols(platform, {"ana": []}))
        yield platform


def own_symbols(market: Platform) -> list[str]:
    found = market.query("SELECT document -> 'symbols' -> 'binance' FROM user_settings")
    return sorted(found[0][0] or {})


def keys_of(market: Platform, symbol: str) -> list[str]:
    with market.redis() as client:
        return sorted(client.scan_iter(f"*:{symbol}*"))


def spare(market: Platform, first: list[str]) -> str:
    """A traded symbol that is not monitored."""
    return next(symbol for symbol in ranked(market)[20:] if symbol not in first)


# --- connections --------------------------------------------------------------------------------------------
@pytest.mark.soak  # over 10 s
def test_an_exchange_that_takes_no_connection_leaves_all_as_it_was(market: Platform) -> None:
    with running(market, TOP3, patience=SHORT):
        first = agree(market)
        other = spare(market, first)
        market.fault("binance", kind="refuse_connection", duration_s=8)
        failed = order(market, "add-symbol", {"symbol": other}, sub="ana")
        assert (failed.verdict, "as they were" in failed.words) == (Verdict.FAILED, True), failed.words
        assert own_symbols(market) == []
        assert agree(market) == first
        until(lambda: keys_of(market, other) == [], 60, "cleaned")
        # What is wanted by settings is said, and tried again by itself.
        market.fault("binance", kind="refuse_connection", duration_s=8)
        asyncio.run(set_symbols(market, {"ana": [other]}))
        until(lambda: "brought nothing" in (status(market)["lastError"] or ""), 60, "the trouble is told")
        assert market.symbols("binance") == first
        assert agree(market) == [*first, other]


@pytest.mark.soak  # over 10 s
def test_a_pause_amid_a_change_of_connections_closes_all_at_once(market: Platform) -> None:
    with running(market, TOP3), ThreadPoolExecutor(1) as others:
        first = agree(market)
        other = spare(market, first)
        market.fault("binance", kind="hang_connection", delay_s=6, duration_s=4)
        adding = others.submit(order, market, "add-symbol", {"symbol": other}, "ana")
        until(lambda: "add-symbol" in (status(market)["command"] or ""), 30, "it is under way")
        until(lambda: own_symbols(market) == [other], 30, "it connects")
        assert done(market, "pause", sub="ana") == {"state": "active", "paused": True}
        until(lambda: sockets(market) == 0, 5, "no socket")
        added = adding.result(60)
        assert added.verdict is Verdict.DONE, added.words
        assert "when it is resumed" in added.reply.result["note"]
        assert market.symbols("binance") == [*first, other]
        assert "repaired" in done(market, "resume", sub="ana")
        assert agree(market) == [*first, other]


# --- what is held -------------------------------------------------------------------------------------------
def test_what_is_held_is_monitored_in_its_mode_and_followed(
    market: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = create(market, "binance", "trader", orders=20, symbols=2, days=9)
    for name, value in environment("binance", shown).items():
        monkeypatch.setenv(name, value)
    account = register(market, "binance")
    in_session(market, "binance", account, read_held)
    with running(market, TOP3):
        everything = agree(market)
        held = done(market, "switch-mode", {"mode": "position-monitor"}, sub="ana")
        monitored = agree(market)
        assert 0 < len(monitored) == held["symbols"]
        listed = asyncio.run(by_the_stores(market)).symbols
        assert all(one.held for one in listed)
        until(lambda: status(market)["mode"] == "position-monitor", 30, "the mode is shown")
        # One more is bought, and read: the instance hears of it by itself.
        bought = next(
            symbol for symbol in ranked(market) if symbol not in monitored and symbol.endswith("USDT")
        )
        trade = {"account": "trader", "symbol": bought, "side": "BUY", "size": "5"}
        place(market, "binance", **trade)
        in_session(market, "binance", account, read_held)
        assert agree(market) != monitored
        assert bought in market.symbols("binance")
        done(market, "switch-mode", {"mode": "scalper-macdv"}, sub="ana")
        assert set(agree(market)) == {*everything, bought}


@contextmanager
def forbidden(market: Platform, word: str) -> Iterator[None]:
    """Redis answers `word` with an error, to everybody."""
    with market.redis() as client:
        client.acl_log_reset()
        client.acl_setuser("default", enabled=True, nopass=True, commands=[f"-{word}"])
        try:
            yield
        finally:
            client.acl_setuser("default", enabled=True, nopass=True, commands=[f"+{word}"])


def test_a_change_that_redis_broke_off_is_taken_back_or_made_again(market: Platform) -> None:
    with market.redis() as client, running(market, TOP3, patience=SHORT):
        first = agree(market)
        new = spare(market, first)
        with forbidden(market, "sadd"):
            assert order(market, "add-symbol", {"symbol": new}, sub="ana").verdict is Verdict.FAILED
            assert own_symbols(market) == []
        assert agree(market) == first
        with forbidden(market, "sadd"):
            write_desired_sync(client, BINANCE, replace(TOP3, symbols=SymbolChoice(listed=(*first, new))))
            until(client.acl_log, 60, "it was tried")
        assert new in agree(market)
        until(lambda: new in client.hkeys(keys.warmed(BINANCE)), 60, "what was connected late is warmed up")
        assert client.smembers(keys.warming(BINANCE)) == set()


# --- the cache ----------------------------------------------------------------------------------------------
def cached(market: Platform) -> dict[str, list[str]]:
    """Every key of candles with the final ones it holds."""
    with market.redis() as client:
        names = sorted([*client.scan_iter("candles:*"), *client.scan_iter("usercandles:*")])
        return {name: [one for one in client.zrange(name, 0, -1) if one[8] != "0"] for name in names}


def beside(market: Platform) -> dict[str, str]:
    """Every other key of a symbol: indicators with their values, the others by their names."""
    with market.redis() as client:
        names = sorted(name for kind in ("indicator", "ticker") for name in client.scan_iter(f"{kind}:*"))
        return {name: client.get(name) if name.endswith(":macd-v") else "" for name in names}


def keep_tickers(market: Platform) -> None:
    """Those there are: after a minute without news they would go by themselves."""
    with market.redis() as client:
        for name in client.scan_iter("ticker:*"):
            client.persist(name)


def test_each_scope_of_clearing_takes_its_keys_and_no_others(market: Platform) -> None:
    with running(market, TOP3):
        symbols = agree(market)
        until(lambda: all(len(keys_of(market, one)) > 3 * len(Timeframe) for one in symbols), 60, "computed")
        done(market, "pause", sub="ana")
        until(lambda: stored_all(market), 60, "all is stored")
        until(lambda: market.idle_consumers("binance"), 60, "all is computed")
        keep_tickers(market)
        before, others = cached(market), beside(market)
        asked = market.ask("binance", "counters")["requests_by_endpoint"]["candles"]
        with market.redis() as client:
            for name in before:  # so that one that was filled anew is told from one left alone
                client.zremrangebyrank(name, 0, 9)
        shorter = cached(market)
        of_5m = {name for name in before if name.endswith(":5m")}
        cleared = done(
            market, "clear-cache", {"scope": "timeframe", "timeframe": "5m", "confirm": True}, "ana"
        )
        assert cleared["keys"] == len(symbols) == len(of_5m)
        assert {name: len(held) for name, held in cached(market).items()} == {
            name: len(before[name] if name in of_5m else held) for name, held in shorter.items()
        }
        cleared = done(market, "clear-cache", {"scope": "all", "confirm": True}, sub="ana")
        assert cleared["keys"] == len(before)
        assert {name: len(held) for name, held in cached(market).items()} == {
            name: len(held) for name, held in before.items()
        }
        assert beside(market) == others
        assert market.ask("binance", "counters")["requests_by_endpoint"]["candles"] == asked
        for wrong in ({"scope": "symbol"}, {"scope": "all", "timeframe": "5m"}, {"scope": "timeframe"}):
            refused = order(market, "clear-cache", {**wrong, "confirm": True}, sub="ana")
            assert (refused.verdict, "Scopes" in refused.words) == (Verdict.REFUSED, True)


def stored_all(market: Platform) -> bool:
    """Whether PostgreSQL has every final candle of the cache."""
    rows = market.query("SELECT symbol, timeframe, count(*) FROM candles GROUP BY symbol, timeframe")
    stored = {keys.candles(BINANCE, row[0], Timeframe(row[1])): row[2] for row in rows}
    return all(stored.get(name, 0) >= len(held) for name, held in cached(market).items())


@pytest.mark.soak  # over 10 s
def test_clearing_keeps_what_is_on_its_way_to_the_tables(market: Platform) -> None:
    def minute(number: int, rank: Rank = Rank.FINAL) -> StampedCandle:
        prices = Candle(START_MS // M1.ms * M1.ms + number * M1.ms, "1", "1", "1", "1", "5")
        end = prices.open_ms + M1.ms
        return StampedCandle("BTCUSDT", M1, prices, rank, end, Origin.LIVE, proven_ms=end)

    async def told(_: object) -> None:
        return None

    async def run() -> list[tuple[int, Origin]]:
        async with open_context("binance", market) as ctx:
            await refresh_products(ctx)
            await ctx.table.upsert(BINANCE, [minute(number) for number in range(3)])
            await ctx.cache.write([*map(minute, range(1, 6)), minute(6, Rank.OPEN)], START_MS)
            payload = {"scope": "symbol", "symbol": "BTCUSDT", "confirm": True}
            command = Command(
                correlation_id="c", type=CommandType.CLEAR_CACHE, exchange="binance", timestamp=0,
                sub="ana", payload=payload,
            )  # fmt: skip
            await clear_cache(ctx, command, told, running=True)
            return [(one.candle.open_ms, one.origin) for one in await ctx.cache.read("BTCUSDT", M1)]

    origins = [Origin.WARMUP] * 3 + [Origin.BACKFILL] * 3
    opens = [minute(number).candle.open_ms for number in range(6)]
    assert asyncio.run(run()) == list(zip(opens, origins, strict=True))


def test_what_is_cleared_while_idle_is_filled_from_the_tables_by_the_next_start(market: Platform) -> None:
    with running(market, TOP3):
        first = agree(market)
        until(lambda: stored_all(market), 60, "all is stored")
        done(market, "stop", sub="ana")
        becomes(market, InstanceState.IDLE)
        keep_tickers(market)
        names = sorted(cached(market))
        # What no exchange says, so that it is told where it came from.
        at_ms = market.market_now("binance") // M1.ms * M1.ms - 100 * M1.ms
        market.execute("UPDATE candles SET volume = 123456 WHERE timeframe = '1m' AND open_ms = %s", at_ms)
        others = beside(market)
        cleared = done(market, "clear-cache", {"scope": "all", "confirm": True}, sub="ana")
        assert cleared["keys"] == len(names) == len(first) * len(Timeframe)
        assert cached(market) == {}
        assert beside(market) == others
        done(market, "start", sub="ana")
        becomes(market, InstanceState.ACTIVE)
        assert sorted(cached(market)) == names

        async def volumes() -> set[str]:
            async with open_context("binance", market) as ctx:
                found = await ctx.cache.read_many(first, M1)
            return {
                one.candle.volume for held in found.values() for one in held if one.candle.open_ms == at_ms
            }

        assert asyncio.run(volumes()) == {"123456"}


# --- what is monitored no longer ----------------------------------------------------------------------------
@pytest.mark.soak  # over 10 s
def test_who_still_brings_candles_of_a_removed_symbol_brings_none_of_its_keys_back(market: Platform) -> None:
    with running(market, TOP3):
        first = agree(market)
        other = spare(market, first)
        done(market, "add-symbol", {"symbol": other}, sub="ana")
        assert agree(market) == [*first, other]
        assert done(market, "remove-symbol", {"symbol": other}, sub="ana")["removed_symbols"] == [other]
        assert keys_of(market, other) == []
        long_ago = market.market_now("binance") - 700 * M1.ms

        async def late_run() -> BackfillReport:
            """What a boundary's run does that read the symbol as monitored."""
            async with open_context("binance", market) as ctx:
                return await backfill(ctx, [other], [M1], long_ago)

        assert asyncio.run(late_run()).stored >= 300
        assert keys_of(market, other) == []
        stored = market.stored("binance", other, M1, long_ago, market.market_now("binance"))
        assert len(stored) >= 650
        done(market, "add-symbol", {"symbol": other}, sub="ana")
        assert agree(market) == [*first, other]
        until(lambda: len(keys_of(market, other)) >= 2 * len(Timeframe), 60, "kept again")


def test_what_is_no_longer_wanted_at_a_start_leaves_the_cache(market: Platform) -> None:
    with running(market, TOP3):
        *kept, gone = agree(market)
    assert keys_of(market, gone)
    with running(market, Desired("running", SymbolChoice(top=2), "ana")):
        assert agree(market) == kept
        until(lambda: keys_of(market, gone) == [], 60, "cleaned")
        assert all(keys_of(market, symbol) for symbol in kept)
