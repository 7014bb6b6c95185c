"""A candle as the exchange gave it, and how sure we are of it.

Prices and volumes are canonical decimal text (no exponent, no leading '+', no trailing zeros, '0' for
zero); computation elsewhere is float64. Time is int epoch milliseconds, UTC. A candle is named by its open.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from enum import IntEnum, StrEnum

import msgspec

from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Candle", "Origin", "Rank", "StampedCandle", "canonical"]


class Rank(IntEnum):
    """How final a candle is. A higher rank replaces a lower one, never the other way round."""

    OPEN = 0
    FINAL = 1
    """Streamed and proven closed, or read by REST less than 30 s after its end."""
    SETTLED = 2
    """Read by REST 30 s or more after its end."""


class Origin(StrEnum):
    """How a candle came here; decides whether it may be a boundary and how its alerts are marked."""

    LIVE = "live"
    LATE = "late"
    """Proven closed by a snapshot: history, never a boundary."""
    WARMUP = "warmup"
    REPAIR = "repair"
    BOUNDARY = "boundary"
    BACKFILL = "backfill"

    @property
    def is_history(self) -> bool:
        return self in (Origin.LATE, Origin.WARMUP, Origin.BACKFILL)


class Candle(msgspec.Struct, frozen=True, gc=False):
    """Values of one native candle. `volume` is in base currency.

    A struct because a million are made: a frozen dataclass takes ten times as long.
    """

    open_ms: int
    open: str
    high: str
    low: str
    close: str
    volume: str

    @property
    def observed(self) -> bool:
        """False for a zero-volume filler row, which stands for a bar without trades (P15)."""
        return self.volume != "0"


class StampedCandle(msgspec.Struct, frozen=True, gc=False):
    """A candle on its way to the cache: what it is a candle of, how final, and as of when.

    `stamp_ms`: the frame's exchange time for a streamed candle, the exchange's clock when the request was
    asked for a REST row. `trades` is -1 where the exchange does not say.
    """

    symbol: str
    timeframe: Timeframe
    candle: Candle
    rank: Rank
    stamp_ms: int
    origin: Origin
    trades: int = -1
    proven_ms: int = 0
    """Exchange clock when the close was proven; 0 while open."""

    @property
    def end_ms(self) -> int:
        return self.candle.open_ms + self.timeframe.ms


def canonical(number: str | Decimal | int) -> str:
    """Canonical decimal text of a price or volume.

    >>> canonical("0.01250000"), canonical("1E-7"), canonical("100")
    ('0.0125', '0.0000001', '100')

    Raises ValueError for anything that is not a finite number.
    """
    if isinstance(number, str) and _is_plain(number):
        if "." not in number:
            return number
        text = number.rstrip("0").rstrip(".")
        return text if text not in ("", "-0") else "0"
    try:
        value = Decimal(number)
    except InvalidOperation:
        raise ValueError(f"{number!r} is not a number") from None
    if not value.is_finite():
        raise ValueError(f"{number!r} is not a finite number")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text if text not in ("-0", "") else "0"


def _is_plain(text: str) -> bool:
    """Digits with at most one inner point and no superfluous leading zero: the fast path of exchange text."""
    whole, _, fraction = text.partition(".")
    return (
        text.isascii()
        and whole.isdigit()
        and (fraction.isdigit() or "." not in text)
        and (whole == "0" or whole[0] != "0")
    )
