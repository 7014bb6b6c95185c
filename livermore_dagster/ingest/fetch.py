"""The boundary fetch: what closed at B and whatever is missing before it, from REST into the candle cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from livermore_dagster.ingest.context import ExchangeContext, Servers, open_context
from livermore_dagster.market.candle import Origin
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["ExchangeContext", "FetchReport", "SeriesFetch", "Servers", "fetch_due", "open_context"]


@dataclass(frozen=True, slots=True)
class SeriesFetch:
    """What became of one symbol and timeframe at a boundary."""

    symbol: str
    timeframe: Timeframe
    requests: int
    stored: int
    """Candles that became final or were revised by this fetch."""
    outcome: str
    """'closed' (the due candle is here), 'absent' (proven), 'unknown' (asked again next time), 'failed'."""
    reason: str = ""


@dataclass(slots=True)
class FetchReport:
    boundary_ms: int
    timeframes: tuple[Timeframe, ...]
    """Those fetched: due, had by the exchange, and not streamed by it."""
    series: list[SeriesFetch] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.series)

    @property
    def stored(self) -> int:
        return sum(one.stored for one in self.series)

    def count(self, outcome: str) -> int:
        return sum(one.outcome == outcome for one in self.series)


async def fetch_due(
    ctx: ExchangeContext,
    boundary_ms: int,
    timeframes: Sequence[Timeframe],
    symbols: Sequence[str],
    *,
    origin: Origin = Origin.BOUNDARY,
    on_progress: Callable[[int, int], None] | None = None,
) -> FetchReport:
    """Fetch for each symbol, in rank order, every due timeframe that is not streamed, up to `boundary_ms`.

    `on_progress(done, all)` after each series. A failed series is reported, never raised; only an unusable
    store or budget ends the fetch.
    """
    raise AssertionError
