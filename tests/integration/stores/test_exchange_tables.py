"""Exchanges, symbols, probes and provenance on a real PostgreSQL."""

from __future__ import annotations

import dataclasses

import psycopg
import pytest

from livermore_dagster.errors import PlatformError, ProvenanceMismatch, UnknownExchange, UnknownSymbol
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.asked_ranges import AskedRange, add_asked_ranges
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import Pool, open_pool
from livermore_dagster.stores.postgres.exchanges import load_exchanges, upsert_rows
from livermore_dagster.stores.postgres.probes import read_probe, record_probe
from livermore_dagster.stores.postgres.provenance import claim_provenance, read_provenance
from livermore_dagster.stores.postgres.series import LISTING_BARS, first_opens, learn_first_open
from livermore_dagster.stores.postgres.symbols import (
    SymbolRow,
    load_symbols,
    require_symbols,
    upsert_symbols,
)
from tests.integration.stores.conftest import EXCHANGE


async def test_exchanges_are_kept_as_given_and_not_touched_in_vain(pool: Pool) -> None:
    async with pool.connection() as connection:
        other = dataclasses.replace(EXCHANGE, id=4, name="kraken", active=False)
        await upsert_rows(connection, [EXCHANGE, other])
        assert await load_exchanges(connection) == [EXCHANGE, other]
        before = await (await connection.execute("SELECT id, xmin FROM exchanges ORDER BY id")).fetchall()
        moved = dataclasses.replace(other, rest_url="https://elsewhere.example")
        await upsert_rows(connection, [EXCHANGE, moved])
        after = await (await connection.execute("SELECT id, xmin FROM exchanges ORDER BY id")).fetchall()
        assert before[0] == after[0]
        rows = await load_exchanges(connection)
    assert row_named("kraken", rows) == moved
    with pytest.raises(UnknownExchange, match=r"'ftx'.*binance, kraken"):
        row_named("ftx", rows)


async def test_symbols_follow_the_exchanges_list(pool: Pool) -> None:
    btc = SymbolRow("BTC-USD", "BTC", "USD", True, None, "1234567.89", 12, 1, 1_500_000_000_000)
    alias = SymbolRow("BTC-USDC", "BTC", "USDC", True, alias_of="BTC-USD")
    old = SymbolRow("OLD-USD", "OLD", "USD", True, volume_rank=2)
    async with pool.connection() as connection:
        await upsert_symbols(connection, 2, [alias, btc, old])
        assert await load_symbols(connection, 2) == [btc, old, alias]
        await upsert_symbols(connection, 2, [dataclasses.replace(btc, listed_ms=None), alias])
        gone = dataclasses.replace(old, trading=False, listed=False, volume_rank=None)
        assert await load_symbols(connection, 2) == [btc, alias, gone]


async def test_unknown_symbols_are_refused_only_by_a_fresh_list(pool: Pool) -> None:
    btc = SymbolRow("BTC-USD", "BTC", "USD", True, volume_rank=1)
    async with pool.connection() as connection:
        await require_symbols(connection, 2, "binance", ["BTC-USD", "DOGE-USD"])
        await upsert_symbols(connection, 2, [btc, SymbolRow("BTC-USDC", "BTC", "USDC", True, "BTC-USD")])
        await require_symbols(connection, 2, "binance", ["BTC-USD", "BTC-USDC"])
        with pytest.raises(UnknownSymbol, match=r"'DOGE-USD'.*BTC-USD"):
            await require_symbols(connection, 2, "binance", ["BTC-USD", "DOGE-USD"])
        with pytest.raises(UnknownSymbol, match=r"Did you mean BTC-USD\?"):
            await require_symbols(connection, 2, "binance", ["btcusd"])
        with pytest.raises(UnknownSymbol, match=r"Did you mean BTC-USD or BTC-USDC\?"):
            await require_symbols(connection, 2, "binance", ["BTX-USD"])
        await connection.execute("UPDATE exchange_symbols SET updated_at = now() - interval '2 days'")
        await require_symbols(connection, 2, "binance", ["DOGE-USD"])


DAY = 86_400_000


async def test_a_series_begins_where_the_ledger_ends_before_its_first_candle(pool: Pool) -> None:
    """A symbol listed while it is watched: nobody was told, but REST had proved all before it absent."""
    first, table = 20_000 * DAY + 3 * 3_600_000, CandleTable(pool)
    quiet = first - LISTING_BARS * Timeframe.M1.ms

    def asked(symbol: str, timeframe: Timeframe, from_ms: int, to_ms: int) -> AskedRange:
        return AskedRange(symbol, timeframe, from_ms, to_ms, to_ms + 5_000)

    def candle(symbol: str, timeframe: Timeframe, open_ms: int) -> StampedCandle:
        made = Candle(open_ms, "1", "2", "1", "2", "5")
        return StampedCandle(symbol, timeframe, made, Rank.FINAL, open_ms, Origin.LIVE)

    absent_days = (first - 400 * DAY, 20_000 * DAY)
    ledger = [asked(symbol, Timeframe.M1, quiet, first) for symbol in ("NEW", "KNOWN", "UNASKED")]
    ledger += [asked("NEW", Timeframe.D1, *absent_days), asked("KNOWN", Timeframe.D1, *absent_days)]
    ledger += [
        asked("YOUNG", Timeframe.M1, quiet + 60_000, first),
        asked("YOUNG", Timeframe.D1, *absent_days),
    ]
    ledger += [asked("TORN", Timeframe.M1, quiet - 60_000, first - 60_000)]
    candles = [candle(one.symbol, Timeframe.M1, first) for one in ledger if one.timeframe is Timeframe.M1]
    await table.upsert(2, [*candles, candle("NEW", Timeframe.M1, first + 60_000)])
    async with pool.connection() as connection:
        await add_asked_ranges(connection, 2, ledger)
        names = ["NEW", "KNOWN", "UNASKED", "YOUNG", "TORN", "NONE"]
        assert await first_opens(connection, 2, names, Timeframe.M1) == {"NEW": first, "KNOWN": first}
        await learn_first_open(connection, 2, "KNOWN", Timeframe.M1, first - 60_000)
        known = await first_opens(connection, 2, names, Timeframe.M1)
        assert known == {"NEW": first, "KNOWN": first - 60_000}
    await table.upsert(2, [candle("NEW", Timeframe.D1, quiet - quiet % DAY - 2 * DAY)])
    async with pool.connection() as connection:
        assert await first_opens(connection, 2, ["NEW"], Timeframe.M1) == {}, (
            "it traded before: it only slept"
        )


async def test_a_probe_keeps_its_newest_outcome(pool: Pool) -> None:
    async with pool.connection() as connection:
        assert await read_probe(connection, 2, "4h") is None
        await record_probe(connection, 2, "4h", False, "Unsupported granularity")
        await record_probe(connection, 2, "4h", True, "")
        probe = await read_probe(connection, 2, "4h")
        assert probe is not None
        assert (probe.supported, probe.detail) == (True, "")
        assert probe.probed_at.tzinfo is not None


def test_a_database_is_stamped_once(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert read_provenance(connection) is None
        connection.rollback()
        claim_provenance(connection, "live")
    with psycopg.connect(database_url) as connection:
        claim_provenance(connection, "live")
        with pytest.raises(ProvenanceMismatch, match=r"live.*sim:3"):
            claim_provenance(connection, "sim:3")


async def test_a_database_with_unstamped_market_data_is_refused(database_url: str, pool: Pool) -> None:
    async with pool.connection() as connection:
        await upsert_symbols(connection, 2, [SymbolRow("BTC-USD", "BTC", "USD", True)])
    with psycopg.connect(database_url) as sync:
        with pytest.raises(ProvenanceMismatch, match="unstamped"):
            claim_provenance(sync, "live")
        assert read_provenance(sync) is None


async def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with pytest.raises(PlatformError, match="does not let us in") as caught:
        await open_pool("postgresql://me:hidden@localhost:1/db", None)
    assert "hidden" not in str(caught.value)
