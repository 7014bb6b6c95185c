"""The compact text a candle is kept as, in the cache's sorted sets and in the closes stream.

`{open}{rank}{origin}{stamp},{scale}{open},{high},{low},{close},{scale}{volume}[,{trades}]`, in base 36:
the candle's open in ms (8 digits), its stamp as ms after one minute before that open; prices as integers of a
common decimal scale, high above open, low below open, close above low; volume with a scale of its own. Prices
that are not ordered so stand as `~open,high,low,close` in plain decimal. One candle has one text, so equal
values are equal text, and a member is unique by its open. A 1m BTC candle takes 44 bytes.
"""

from __future__ import annotations

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["decode", "encode"]

EARLIEST_STAMP_MS = 60_000
"""How long before its candle's open a stamp may lie (clocks differ); an earlier one counts as this."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(a + b for a in _DIGITS for b in _DIGITS)
_SMALL = tuple(pair.lstrip("0") or "0" for pair in _PAIRS)
_OPEN_LIMIT = 36**8
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


def encode(stamped: StampedCandle) -> str:
    """Raises ValueError for an open outside 1970…2059 and for values that are no canonical decimals."""
    candle = stamped.candle
    open_ms = candle.open_ms
    if not 0 <= open_ms < _OPEN_LIMIT:
        raise ValueError(f"{open_ms} ms does not fit a candle's time")
    delay = max(0, stamped.stamp_ms - open_ms + EARLIEST_STAMP_MS)
    head = f"{_base36(open_ms):0>8}{stamped.rank.value}{_LETTER[stamped.origin]}{_base36(delay)}"
    text = f"{head},{_prices(candle)},{_volume(candle.volume)}"
    return text if stamped.trades < 0 else f"{text},{_base36(stamped.trades)}"


def decode(member: str, symbol: str, timeframe: Timeframe, proven_ms: int = 0) -> StampedCandle:
    """The inverse of `encode`; `proven_ms` is not part of the text."""
    head, first, high, low, close, volume, *trades = member.split(",")
    open_ms = int(head[:8], 36)
    if first[0] == "~":
        candle = Candle(open_ms, first[1:], high, low, close, _decimal(volume))
    else:
        scale = int(first[0], 36)
        opened = int(first[1:], 36)
        lowest = opened - int(low, 36)
        candle = Candle(
            open_ms,
            _text(opened, scale),
            _text(opened + int(high, 36), scale),
            _text(lowest, scale),
            _text(lowest + int(close, 36), scale),
            _decimal(volume),
        )
    return StampedCandle(
        symbol=symbol,
        timeframe=timeframe,
        candle=candle,
        rank=_RANK[head[8]],
        stamp_ms=open_ms - EARLIEST_STAMP_MS + int(head[10:], 36),
        origin=_ORIGIN[head[9]],
        trades=int(trades[0], 36) if trades else -1,
        proven_ms=proven_ms,
    )


def _base36(number: int) -> str:
    if number < 1296:
        return _SMALL[number]
    high, low = divmod(number, 1296)
    return _base36(high) + _PAIRS[low]


def _prices(candle: Candle) -> str:
    whole_o, _, part_o = candle.open.partition(".")
    whole_h, _, part_h = candle.high.partition(".")
    whole_l, _, part_l = candle.low.partition(".")
    whole_c, _, part_c = candle.close.partition(".")
    scale = max(len(part_o), len(part_h), len(part_l), len(part_c))
    opened = int(f"{whole_o}{part_o:0<{scale}}")
    high = int(f"{whole_h}{part_h:0<{scale}}") - opened
    low = int(f"{whole_l}{part_l:0<{scale}}")
    close = int(f"{whole_c}{part_c:0<{scale}}") - low
    below = opened - low
    if scale > 35 or low < 0 or high < 0 or below < 0 or close < 0:
        return f"~{candle.open},{candle.high},{candle.low},{candle.close}"
    return f"{_DIGITS[scale]}{_base36(opened)},{_base36(high)},{_base36(below)},{_base36(close)}"


def _volume(volume: str) -> str:
    whole, _, part = volume.partition(".")
    number = int(whole + part)
    if number < 0 or len(part) > 35:
        raise ValueError(f"{volume!r} is no volume")
    return _DIGITS[len(part)] + _base36(number)


def _decimal(text: str) -> str:
    return _text(int(text[1:], 36), int(text[0], 36))


def _text(number: int, scale: int) -> str:
    """Canonical decimal text of number / 10**scale."""
    digits = str(number)
    if scale == 0:
        return digits
    if len(digits) <= scale:
        digits = digits.zfill(scale + 1)
    part = digits[-scale:].rstrip("0")
    return f"{digits[:-scale]}.{part}" if part else digits[:-scale]
