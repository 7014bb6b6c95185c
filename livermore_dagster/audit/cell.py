"""What is judged together: one exchange and timeframe, up to a boundary, over the monitored symbols."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Cell", "MarketNow"]


@dataclass(frozen=True, slots=True)
class MarketNow:
    """`at_ms`: market time by this machine's clock; `speed`: market time per real time."""

    at_ms: int
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Cell:
    """`boundary_ms`: exchange clock; the cell's candles are those that end by then."""

    ctx: ExchangeContext
    timeframe: Timeframe
    symbols: Sequence[str]
    boundary_ms: int
    by_hand: bool
    """Asked for in a shell or the UI, not by a boundary event."""
    warming: Collection[str] = ()
    """Those whose history is being fetched: what they lack yet is no fault."""
    market: MarketNow | None = None
    """None where this machine does not know the time of a market that is played elsewhere."""

    @property
    def judged(self) -> list[str]:
        """The symbols an audit can say something about."""
        return [symbol for symbol in self.symbols if symbol not in self.warming]

    @property
    def streamed(self) -> bool:
        return self.timeframe in self.ctx.row.streamed_timeframes

    @property
    def newest_open_ms(self) -> int:
        """Open of the newest candle that ends by the boundary."""
        return self.timeframe.open_of(self.boundary_ms) - self.timeframe.ms

    def bars_before(self, bars: int) -> int:
        """Open of the oldest of the newest `bars` candles."""
        return self.newest_open_ms - (bars - 1) * self.timeframe.ms
