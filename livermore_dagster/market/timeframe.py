"""The six timeframes Livermore works with, and the UTC grid they stand on."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from livermore_dagster.errors import UnknownTimeframe

__all__ = ["BOUNDARY_TIMEFRAMES", "TIMEFRAMES", "Timeframe"]

_MS = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}


class Timeframe(StrEnum):
    """A candle's length; its value is the text used in keys, tables and commands ('5m')."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"

    ms: int
    """Its length. An attribute, not computed: it is read for every frame."""

    def __new__(cls, text: str) -> Self:
        made = str.__new__(cls, text)
        made._value_ = text
        made.ms = _MS[text]
        return made

    @classmethod
    def parse(cls, text: str) -> Timeframe:
        """Raises UnknownTimeframe, which names what was given and what exists."""
        try:
            return cls(text)
        except ValueError:
            raise UnknownTimeframe(text, [tf.value for tf in cls]) from None

    def open_of(self, at_ms: int) -> int:
        """Open (epoch ms) of the UTC-grid bucket that holds `at_ms`."""
        return at_ms - at_ms % self.ms


TIMEFRAMES: tuple[Timeframe, ...] = tuple(Timeframe)
BOUNDARY_TIMEFRAMES: tuple[Timeframe, ...] = (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)
