"""Warm-up (P10): what is missing of the newest 300 bars of every series, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["WARMUP_BARS", "WarmupReport", "WarmupStats", "warm_up"]

WARMUP_BARS = 300


@dataclass(slots=True)
class WarmupStats:
    """Progress, as published at keys.warmup_stats (JSON of these names)."""

    phase: str
    """'scanning', 'fetching' or 'done'."""
    total: int = 0
    """Series (symbol and timeframe) in all."""
    done: int = 0
    skipped: int = 0
    """Series that lacked nothing."""
    failed: list[dict[str, str]] = field(default_factory=list)
    """{symbol, timeframe, reason} of each series that could not be filled."""
    percent: float = 0.0
    eta_s: float | None = None
    current: str = ""
    """Symbol and timeframe being fetched."""
    requests: int = 0
    candles: int = 0
    started_ms: int = 0
    updated_ms: int = 0


@dataclass(frozen=True, slots=True)
class WarmupReport:
    stats: WarmupStats
    seconds: float


async def warm_up(
    ctx: ExchangeContext,
    symbols: Sequence[str],
    exchange_now: int | None = None,
    on_progress: Callable[[WarmupStats], None] | None = None,
    *,
    timeframes: Sequence[Timeframe] | None = None,
    bars: int = WARMUP_BARS,
) -> WarmupReport:
    """Fill cache (from PostgreSQL first, then by REST) with the newest `bars` closed candles of every series.

    Largest timeframe first, symbols in rank order. `exchange_now`: exchange clock, epoch ms, at most as late
    as it really is; None asks the exchange. The schedule is published before the first request.
    """
    raise AssertionError
