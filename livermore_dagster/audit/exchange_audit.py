"""One exchange's data at rest, audited whole: what Dagster's checks judge, over any stretch of history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from livermore_dagster.audit.cell import Cell, MarketNow
from livermore_dagster.audit.cells import newest_boundary, open_cell
from livermore_dagster.audit.exchange_candles import matches_exchange, pages_of
from livermore_dagster.audit.live_values import live_equals_batch
from livermore_dagster.audit.stored_candles import fresh, no_gaps, sane
from livermore_dagster.audit.verdict import Verdict, judge
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["AuditPlan", "Audited", "audit", "plan_audit"]

LEAST_BARS = 300
"""Judged where nobody says since when."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One check of one timeframe."""

    timeframe: Timeframe
    check: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """`cells` with the open (ms) each is judged from; `requests` that asking the exchange will take."""

    cells: tuple[tuple[Cell, int], ...]
    requests: int


async def plan_audit(
    ctx: ExchangeContext,
    timeframes: Sequence[Timeframe],
    symbols: Sequence[str] | None,
    since_ms: int | None,
    market: MarketNow | None = None,
) -> AuditPlan:
    """What an audit of `timeframes` takes; `symbols` None: the monitored ones.

    Raises UnsupportedTimeframe for one the exchange does not have.
    """
    cells = []
    for timeframe in timeframes:
        cell = await open_cell(ctx, timeframe, await newest_boundary(ctx, timeframe), market)
        if symbols is not None:
            cell = replace(cell, symbols=tuple(symbols))
        from_ms = cell.bars_before(LEAST_BARS) if since_ms is None else timeframe.open_of(since_ms)
        cells.append((cell, min(from_ms, cell.newest_open_ms)))
    return AuditPlan(tuple(cells), sum([await pages_of(cell, from_ms) for cell, from_ms in cells]))


async def audit(
    plan: AuditPlan, *, ask: bool = True, on_page: Callable[[Timeframe, str], None] | None = None
) -> list[Audited]:
    """Judges each cell; with `ask` the exchange is asked first, so that what it mends is judged mended."""
    found: list[Audited] = []
    for cell, from_ms in plan.cells:
        timeframe = cell.timeframe

        def tell(symbol: str, timeframe: Timeframe = timeframe) -> None:
            if on_page is not None:
                on_page(timeframe, symbol)

        checks = _checks(from_ms)
        if ask:
            checks = {"matches_exchange": partial(matches_exchange, from_ms=from_ms, on_page=tell), **checks}
        found += [Audited(timeframe, name, await judge(cell, check)) for name, check in checks.items()]
    return found


def _checks(from_ms: int) -> dict[str, Callable[[Cell], Awaitable[Verdict]]]:
    """Those that ask nobody, by name."""
    return {
        "no_gaps": partial(no_gaps, from_ms=from_ms),
        "sane": partial(sane, from_ms=from_ms),
        "fresh": fresh,
        "live_equals_batch": partial(live_equals_batch, from_ms=from_ms),
    }
