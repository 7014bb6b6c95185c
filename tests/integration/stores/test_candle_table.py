"""The candles table on a real PostgreSQL, against the same naive model as the cache."""

from __future__ import annotations

import asyncio
import itertools

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres import exchanges
from livermore_dagster.stores.postgres.asked_ranges import AskedRange, add_asked_ranges, read_asked_ranges
from livermore_dagster.stores.postgres.candles import CandleTable, Lead, Span, UpsertCounts
from livermore_dagster.stores.postgres.connect import Pool, open_pool
from livermore_dagster.stores.postgres.series import first_opens, learn_first_open
from livermore_dagster.stores.postgres.soundness import judge_candles
from tests.integration.stores.conftest import EXCHANGE
from tests.integration.stores.rule_model import SERIES, T0, candles, standing

M1 = Timeframe.M1


def minute(bar: int, close: str = "1", rank: Rank = Rank.FINAL, shift_ms: int = 0) -> StampedCandle:
    open_ms = T0 + bar * 60_000 + shift_ms
    candle = Candle(open_ms, "1", "2", "0.5", close, "3")
    return StampedCandle("BTCUSDT", M1, candle, rank, open_ms + 60_001, Origin.LIVE, 4)


async def stored(table: CandleTable) -> list[StampedCandle]:
    return await table.read(2, "BTCUSDT", M1, 0, 2**53)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.lists(candles((Rank.FINAL, Rank.SETTLED)), min_size=1, max_size=12), min_size=1, max_size=4
    )
)
def test_any_upserts_leave_the_best_of_each_candle(
    database_url: str, batches: list[list[StampedCandle]]
) -> None:
    best: dict[tuple[str, Timeframe, int], StampedCandle] = {}
    for stamped in (one for batch in batches for one in batch):
        key = (stamped.symbol, stamped.timeframe, stamped.candle.open_ms)
        if key not in best or standing(stamped) > standing(best[key]):
            best[key] = stamped

    async def scenario() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            await connection.execute("TRUNCATE candles")
            await exchanges.upsert_rows(connection, [EXCHANGE])
        pool = await open_pool(database_url, None, wait=False)
        table = CandleTable(pool)
        for batch in batches:
            await table.upsert(2, batch)
            again = await table.upsert(2, batch)
            assert again == UpsertCounts(0, 0, len(batch))
        for symbol, timeframe in SERIES:
            found = await table.read(2, symbol, timeframe, 0, 2**53)
            wanted = [best[key] for key in sorted(best) if key[:2] == (symbol, timeframe)]
            assert [standing(one) for one in found] == [standing(one) for one in wanted]
            # Values are compared where only one candle stands so high.
            for one, expected in zip(found, wanted, strict=True):
                twins = {
                    twin.candle
                    for batch in batches
                    for twin in batch
                    if (twin.symbol, twin.timeframe) == (symbol, timeframe)
                    and twin.candle.open_ms == expected.candle.open_ms
                    and standing(twin) == standing(expected)
                }
                assert one.candle in twins
        await pool.close()

    asyncio.run(scenario())


async def test_counts_say_what_was_done(pool: Pool) -> None:
    table = CandleTable(pool)
    assert await table.upsert(2, [minute(0), minute(1), minute(1)]) == UpsertCounts(2, 0, 1)
    better = replace(minute(1, "7"), rank=Rank.SETTLED)
    assert await table.upsert(2, [minute(0), better, minute(2)]) == UpsertCounts(1, 1, 1, 1)
    settled = [replace(one, rank=Rank.SETTLED, stamp_ms=T0 + 600_000) for one in (minute(0), better)]
    assert await table.upsert(2, settled) == UpsertCounts(0, 2, 0, 0)
    assert [one.candle.close for one in await stored(table)] == ["1", "7", "1"]


async def test_an_open_candle_is_refused(pool: Pool) -> None:
    with pytest.raises(ValueError, match="still open"):
        await CandleTable(pool).upsert(2, [minute(0, rank=Rank.OPEN)])


async def test_text_of_numbers_survives(pool: Pool) -> None:
    table = CandleTable(pool)
    candle = Candle(T0, "0.0000000012", "100000000000000", "0", "100", "0.00000000000000000001")
    await table.upsert(2, [replace(minute(0), candle=candle)])
    assert [one.candle for one in await stored(table)] == [candle]


async def test_two_writers_at_once_agree(pool: Pool) -> None:
    table = CandleTable(pool)
    up = [minute(bar, "1") for bar in range(300)]
    down = [replace(minute(bar, "2"), rank=Rank.SETTLED) for bar in reversed(range(300))]
    await asyncio.gather(*(table.upsert(2, batch) for batch in (up, down, up, down)))
    assert {one.candle.close for one in await stored(table)} == {"2"}


async def test_reads_are_bounded_as_asked(pool: Pool) -> None:
    table = CandleTable(pool)
    await table.upsert(2, [minute(bar) for bar in range(10)])
    bars = [T0 + bar * 60_000 for bar in range(10)]

    async def opens(start_ms: int, end_ms: int, limit: int | None = None, newest: bool = False) -> list[int]:
        found = await table.read(2, "BTCUSDT", M1, start_ms, end_ms, limit, newest=newest)
        return [one.candle.open_ms for one in found]

    assert await opens(bars[2], bars[5]) == bars[2:5]
    assert await opens(0, bars[5], 2) == bars[:2]
    assert await opens(0, bars[5], 2, newest=True) == bars[3:5]
    assert await table.newest(2, ["BTCUSDT", "NONE"], M1) == {"BTCUSDT": bars[9]}
    assert [(one.symbol, one.count, one.first_open_ms, one.last_open_ms) for one in
            await table.facts(2, ["NONE", "BTCUSDT"], M1)] == [("BTCUSDT", 10, bars[0], bars[9])]  # fmt: skip
    (bounded,) = await table.facts(2, ["BTCUSDT"], M1, count_to=3)
    assert (bounded.count, bounded.first_open_ms, bounded.last_open_ms) == (3, bars[0], bars[9])
    await table.upsert(2, [replace(minute(0), symbol=name) for name in ("A", "Z")])
    await table.upsert(2, [replace(minute(0), symbol="B", timeframe=Timeframe.M5)])
    assert await table.symbols(2, M1) == ["A", "BTCUSDT", "Z"]
    assert await table.symbols(1, M1) == []


async def test_all_unsound_candles_are_counted_and_the_first_shown(pool: Pool) -> None:
    table = CandleTable(pool)
    await table.upsert(2, [minute(bar, "9" if bar % 2 else "1") for bar in range(140)])
    async with pool.connection() as connection:
        found = await judge_candles(connection, 2, ["BTCUSDT"], M1, T0 + 60_000)
    assert (found.judged, found.unsound_count, len(found.unsound)) == (139, 70, 50)
    assert [one.open_ms for one in found.unsound[:2]] == [T0 + 60_000, T0 + 180_000]


async def test_a_lead_counts_only_bars_somebody_traded_in(pool: Pool) -> None:
    table = CandleTable(pool)
    rows = [minute(bar) for bar in range(30)]
    fillers = [replace(one, candle=replace(one.candle, volume="0")) for one in rows]
    await table.upsert(2, [fillers[bar] if bar % 3 else rows[bar] for bar in range(30)])
    end_ms = T0 + 30 * 60_000

    async def lead(start_ms: int, count: int, most: int = 100) -> tuple[int, bool]:
        found = await table.lead(2, "BTCUSDT", M1, start_ms, end_ms, count, most=most)
        return (found.start_ms - T0) // 60_000, found.complete

    assert await lead(0, 4) == (18, True)
    assert await lead(0, 10) == (0, True)
    assert await lead(0, 11) == (0, False)
    assert await lead(T0 + 1, 10) == (1, False)
    assert await lead(0, 4, most=12) == (18, True)
    assert await lead(0, 4, most=11) == (19, False)
    assert await table.lead(2, "NONE", M1, 0, end_ms, 4, most=100) == Lead(end_ms, complete=False)


async def test_gaps_are_what_is_neither_stored_nor_asked_nor_before_the_beginning(pool: Pool) -> None:
    table = CandleTable(pool)

    def at(bar: int) -> int:
        return T0 + bar * 60_000

    assert await table.gaps(2, "BTCUSDT", M1, at(0), at(9)) == [Span(at(0), at(9))]
    # The bar at 4 stands off the grid and counts for the bucket it opens in.
    await table.upsert(2, [minute(2), minute(3), minute(4, shift_ms=7_000), minute(7)])
    assert await table.gaps(2, "BTCUSDT", M1, at(0), at(9)) == [
        Span(at(0), at(2)), Span(at(5), at(7)), Span(at(8), at(9))
    ]  # fmt: skip
    async with pool.connection() as connection:
        await add_asked_ranges(connection, 2, [AskedRange("BTCUSDT", M1, at(5), at(6), 9)])
        await learn_first_open(connection, 2, "BTCUSDT", M1, at(2))
        await learn_first_open(connection, 2, "BTCUSDT", M1, at(3))
        assert await first_opens(connection, 2, ["BTCUSDT", "NONE"], M1) == {"BTCUSDT": at(2)}
    assert await table.gaps(2, "BTCUSDT", M1, at(0), at(9)) == [Span(at(6), at(7)), Span(at(8), at(9))]
    assert await table.gaps(2, "BTCUSDT", M1, at(2), at(5)) == []
    assert await table.gaps(2, "BTCUSDT", M1, at(5), at(5)) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranges=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 4)), max_size=12))
def test_the_ledger_is_the_union_of_what_was_added(database_url: str, ranges: list[tuple[int, int]]) -> None:
    async def scenario() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            await connection.execute("TRUNCATE asked_ranges")
            await exchanges.upsert_rows(connection, [EXCHANGE])
            await connection.commit()
            for start, length in ranges:
                await add_asked_ranges(connection, 2, [AskedRange("A", M1, start, start + length, 5)])
            found = await read_asked_ranges(connection, 2, "A", M1)
        union = {at for start, length in ranges for at in range(start, start + length)}
        assert {at for one in found for at in range(one.from_ms, one.to_ms)} == union
        # Kept as few as possible: between two of them lies something that was not asked.
        assert all(a.to_ms < b.from_ms for a, b in itertools.pairwise(found))

    asyncio.run(scenario())
