"""What a REST reply settles of a series: rows that are closed, and slots proven to hold none."""

from __future__ import annotations

from collections.abc import Sequence

from livermore_dagster.market.candle import Origin, Rank, StampedCandle
from livermore_dagster.market.closing_state import Final, Series
from livermore_dagster.market.closing_types import Effects, Reason, Row
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["ANSWERS_MS", "SETTLE_MS", "is_deaf", "judge_reply", "settle_by_rest"]

ANSWERS_MS = 5_000
"""Exchange time after a candle's end from which REST is worth asking for it."""
SETTLE_MS = 30_000
"""Exchange time after a candle's end at which a REST row counts as settled, and a missing one as absent.

REST changes what it says in between (EXCHANGES, failure mode 6: close + 1 s against close + 30 s)."""
DEAF_BUCKETS = 2
"""One bucket without a frame happens to the best of streams (recorded Coinbase ones lack some of BTC's)."""
LATE_MS = 60_000
"""Exchange time after its end at which even a bucket with frames may be absent."""


def judge_reply(
    symbol: str,
    timeframe: Timeframe,
    asked_range: tuple[int, int],
    rows: Sequence[Row],
    asked_ms: int,
    origin: Origin,
) -> Effects:
    """The same for a series that is not streamed: what of a reply is closed, and what is proven absent."""
    return settle_by_rest(Series(symbol, timeframe, 0), asked_range, rows, asked_ms, origin=origin)


def settle_by_rest(
    series: Series,
    asked_range: tuple[int, int],
    rows: Sequence[Row],
    asked_ms: int,
    settle_ms: int = SETTLE_MS,
    absent_ms: int = SETTLE_MS,
    origin: Origin = Origin.REPAIR,
) -> Effects:
    """A row is closed when its end had passed as it was asked for, or when a later row came with it.

    A row that is missing `absent_ms` after its end is absent.
    """
    from_ms, to_ms = asked_range
    effects = Effects()
    newest = max((row.candle.open_ms for row in rows), default=-1)
    filled: set[int] = set()
    for row in sorted(rows, key=lambda one: one.candle.open_ms):
        open_ms = row.candle.open_ms
        if not from_ms <= open_ms < to_ms:
            continue
        filled.add(series.slot(open_ms))
        if open_ms + series.step <= asked_ms or open_ms < newest:
            effects.writes.append(_settle(series, row, asked_ms, settle_ms, origin))
    for slot in range(series.slot(from_ms), to_ms, series.step):
        if slot not in filled and _is_absent(series, slot, newest, asked_ms, absent_ms):
            _absent(series, slot, effects)
    return effects


def is_deaf(series: Series, asked_range: tuple[int, int], rows: Sequence[Row]) -> bool:
    """Whether bucket after bucket traded, as `rows` show, without a frame; asked before they settle it.

    What is heard since is not deaf: a symbol that is new was monitored before its first frame could come.
    """
    from_ms, to_ms = asked_range
    series.unheard += sum(
        row.candle.observed and series.reason_of(series.slot(row.candle.open_ms)) is Reason.SILENT
        for row in rows
        if from_ms <= row.candle.open_ms < to_ms and series.slot(row.candle.open_ms) > series.active_slot
    )
    if series.unheard < DEAF_BUCKETS:
        return False
    series.unheard = 0
    return True


def _settle(series: Series, row: Row, asked_ms: int, settle_ms: int, origin: Origin) -> StampedCandle:
    candle = row.candle
    settled = asked_ms >= candle.open_ms + series.step + settle_ms
    known = series.finals.get(candle.open_ms)
    if series.held is not None and series.held.candle.open_ms == candle.open_ms:
        series.held = None
    if known is None or (settled, asked_ms) >= (known.settled, known.stamp_ms):
        series.remember(Final(candle, asked_ms, settled, by_clock=False))
    series.decide(series.slot(candle.open_ms))
    rank = Rank.SETTLED if settled else Rank.FINAL
    return StampedCandle(
        series.symbol, series.timeframe, candle, rank, asked_ms, origin, row.trades, asked_ms
    )


def _is_absent(series: Series, slot: int, newest: int, asked_ms: int, absent_ms: int) -> bool:
    """Time enough proves it: exchanges are late with the newest row at times, even beside a later one.

    A bucket that the stream itself had shown takes more: a later row, and long after its end.
    """
    end = slot + series.step
    if any(series.slot(open_ms) == slot for open_ms in series.finals):
        return False
    if slot in series.seen or series.was_active(slot):
        return newest >= end and asked_ms >= end + LATE_MS
    return asked_ms >= end + absent_ms


def _absent(series: Series, slot: int, effects: Effects) -> None:
    series.decide(slot)
    last = effects.absent[-1] if effects.absent else None
    if last is not None and last[3] == slot:
        effects.absent[-1] = (last[0], last[1], last[2], slot + series.step)
    else:
        effects.absent.append((series.symbol, series.timeframe, slot, slot + series.step))
