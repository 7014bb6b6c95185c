"""The compact text a candle is kept as, in the cache's sorted sets and in the closes stream.

`OOOOOOOORQSSSSSSSS,open,high,low,close,volume[,trades]`: open and stamp in ms as 8 digits of base 36, rank as
a digit, origin as a letter; the rest as canonical decimal text. A member is unique by its open.
"""

from __future__ import annotations

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["decode", "encode"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(a + b for a in _DIGITS for b in _DIGITS)
_LIMIT = 36**8
_LETTER = {
    Origin.LIVE: "l",
    Origin.LATE: "t",
    Origin.WARMUP: "w",
    Origin.REPAIR: "r",
    Origin.BOUNDARY: "b",
    Origin.BACKFILL: "f",
}
_ORIGIN = {letter: origin for origin, letter in _LETTER.items()}
_RANK = {str(rank.value): rank for rank in Rank}


def _base36(number: int) -> str:
    if not 0 <= number < _LIMIT:
        raise ValueError(f"{number} ms does not fit a candle's time")
    high, low = divmod(number, 1_679_616)
    a, b = divmod(high, 1296)
    c, d = divmod(low, 1296)
    return _PAIRS[a] + _PAIRS[b] + _PAIRS[c] + _PAIRS[d]


def encode(stamped: StampedCandle) -> str:
    """Raises ValueError for a time outside 1970…2059."""
    candle = stamped.candle
    text = (
        f"{_base36(candle.open_ms)}{stamped.rank.value}{_LETTER[stamped.origin]}{_base36(stamped.stamp_ms)},"
        f"{candle.open},{candle.high},{candle.low},{candle.close},{candle.volume}"
    )
    return text if stamped.trades < 0 else f"{text},{stamped.trades}"


def decode(member: str, symbol: str, timeframe: Timeframe, proven_ms: int = 0) -> StampedCandle:
    """The inverse of `encode`; `proven_ms` is not part of the text."""
    head, *fields = member.split(",")
    if len(head) != 18 or len(fields) not in (5, 6):
        raise ValueError(f"{member!r} is not a stored candle")
    candle = Candle(int(head[:8], 36), fields[0], fields[1], fields[2], fields[3], fields[4])
    return StampedCandle(
        symbol=symbol,
        timeframe=timeframe,
        candle=candle,
        rank=_RANK[head[8]],
        stamp_ms=int(head[10:], 36),
        origin=_ORIGIN[head[9]],
        trades=int(fields[5]) if len(fields) == 6 else -1,
        proven_ms=proven_ms,
    )
