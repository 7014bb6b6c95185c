"""Backfill: history of chosen series into PostgreSQL, as far back as asked or as the exchange has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["BackfillProgress", "BackfillReport", "backfill"]


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    pages_done: int
    pages_total: int
    candles: int
    current: str
    """Symbol and timeframe."""


@dataclass(slots=True)
class BackfillReport:
    requests: int = 0
    candles: int = 0
    """Candles the exchange sent, closed ones."""
    stored: int = 0
    """New or changed in PostgreSQL."""
    skipped_bars: int = 0
    """Bars not asked for: stored, proven absent, or before the listing."""
    failed: list[dict[str, str]] = field(default_factory=list)
    """{symbol, timeframe, reason}"""
    seconds: float = 0.0


async def backfill(
    ctx: ExchangeContext,
    symbols: Sequence[str],
    timeframes: Sequence[Timeframe],
    since_ms: int | None = None,
    on_progress: Callable[[BackfillProgress], None] | None = None,
    *,
    until_ms: int | None = None,
) -> BackfillReport:
    """Ask for what PostgreSQL and the ledger lack of [since, now); resumable, idempotent, newest page first.

    Without `since_ms`: the newest 300 bars of each series. Rows go to the cache where they are among its
    newest 1,000 and straight to PostgreSQL where they are older, which raises no closes.
    """
    raise AssertionError
