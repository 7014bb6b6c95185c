"""Heads of many series are taken a few at a time, each part of one timeframe, none twice."""

from __future__ import annotations

from livermore_dagster.ingest.signals_round import in_parts
from livermore_dagster.market.candle import Candle, Origin, Rank
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.closes import Close


def head(symbol: str, timeframe: Timeframe) -> Close:
    candle = Candle(0, "1", "1", "1", "1", "1")
    return Close("1-0", symbol, timeframe, candle, Rank.FINAL, 0, Origin.LIVE, 0, 0, False, -1)


def test_parts_hold_every_head_once_and_are_of_one_timeframe() -> None:
    heads = {
        (f"S{n}", timeframe): head(f"S{n}", timeframe)
        for n in range(120)
        for timeframe in (Timeframe.M1, Timeframe.H1)
    }
    parts = list(in_parts(heads))
    assert {key: one for part in parts for key, one in part.items()} == heads
    assert sum(map(len, parts)) == len(heads)
    assert all(len({timeframe for _, timeframe in part}) == 1 for part in parts)
    assert max(map(len, parts)) <= 50
    assert list(in_parts({})) == []
