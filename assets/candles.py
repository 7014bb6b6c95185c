"""Assets `candles/<timeframe>`: an exchange's native candles at rest, complete up to a boundary."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from assets.boundary_lease import boundary_lease
from assets.cells import OWNERS, cell_of, exchange_of, table
from assets.series_picture import picture_of
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.series_sync import WINDOW_BARS, SyncReport, find_gaps, sync_from_cache
from livermore_dagster.audit.verdict import Row
from livermore_dagster.ingest.backfill import BackfillReport, backfill
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.fetch import FetchReport, fetch_due
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.resources import EXCHANGES, ExchangeResource
from livermore_dagster.stores.postgres.candles import SeriesFacts, Span

__all__ = ["BOUNDARY_BARS", "Brought", "bring_up", "candle_assets"]

BOUNDARY_BARS = 60
"""What a boundary run verifies: more than a day of 15m bars missed is a hand-run's work."""


COUNT_TO = 1_000
"""So many candles of a series a boundary run counts: all of them are millions, every 15 minutes."""


@dataclass(slots=True)
class Brought:
    """What bringing a cell up to its boundary took and left."""

    cell: Cell
    fetched: FetchReport | None = None
    filled: BackfillReport | None = None
    synced: SyncReport = field(default_factory=SyncReport)
    gaps: dict[str, list[Span]] = field(default_factory=dict)
    facts: list[SeriesFacts] = field(default_factory=list)
    """Of a boundary run each counted to COUNT_TO at most."""

    @property
    def counted(self) -> bool:
        """Whether the facts count every candle there is."""
        return self.cell.by_hand or all(fact.count < COUNT_TO for fact in self.facts)

    @property
    def requests(self) -> int:
        return (self.fetched.requests if self.fetched else 0) + (self.filled.requests if self.filled else 0)


async def bring_up(cell: Cell) -> Brought:
    """Fetch what is due where the exchange does not stream it, store what PostgreSQL lacks, ask for the
    gaps."""
    brought = Brought(cell)
    bars = WINDOW_BARS if cell.by_hand else BOUNDARY_BARS
    if not cell.streamed:
        brought.fetched = await fetch_due(cell.ctx, cell.boundary_ms, [cell.timeframe], cell.symbols)
    brought.synced = await sync_from_cache(cell, bars)
    brought.gaps = await find_gaps(cell, cell.symbols, cell.bars_before(bars))
    if brought.gaps:
        since_ms = min(span.from_ms for spans in brought.gaps.values() for span in spans)
        brought.filled = await backfill(
            cell.ctx, list(brought.gaps), [cell.timeframe], since_ms, until_ms=cell.boundary_ms
        )
        again = await sync_from_cache(cell, bars)
        again.added += brought.synced.added
        again.changed += brought.synced.changed
        brought.synced = again
        brought.gaps = await find_gaps(cell, list(brought.gaps), cell.bars_before(bars))
    brought.facts = await cell.ctx.table.facts(
        cell.ctx.row.id, cell.symbols, cell.timeframe, count_to=None if cell.by_hand else COUNT_TO
    )
    return brought


def candle_assets() -> list[dg.AssetsDefinition]:
    """One asset per timeframe."""
    return [_candles(timeframe) for timeframe in TIMEFRAMES]


def _candles(timeframe: Timeframe) -> dg.AssetsDefinition:
    @dg.asset(
        key=["candles", timeframe.value],
        partitions_def=EXCHANGES,
        group_name="candles",
        kinds={"postgres", "redis"},
        owners=OWNERS,
        code_version="1",
        tags={"timeframe": timeframe.value},
        # Candles of all timeframes first: alerts wait for them, indicators at rest do not.
        op_tags={"dagster/priority": str(20 - TIMEFRAMES.index(timeframe))},
        description=(
            f"Native {timeframe.value} candles of every monitored symbol, closed ones only, as the "
            f"exchange gave "
            "them. Prices in quote currency, volume in base currency, times in UTC. Where the "
            "exchange streams "
            "this timeframe, PostgreSQL is verified against cache and ledger; elsewhere what closed "
            "is fetched."
        ),
    )
    def candles(context: dg.AssetExecutionContext, exchange: ExchangeResource) -> dg.MaterializeResult[Any]:
        record = context.instance.get_run_record_by_id(context.run.run_id)
        created_ms = int(record.create_timestamp.timestamp() * 1000) if record else 0

        async def work(ctx: ExchangeContext) -> Mapping[str, Any]:
            cell = await cell_of(ctx, timeframe, context.run.tags)
            async with boundary_lease(cell, context.run, created_ms):
                brought = await bring_up(cell)
                # Before the boundary is finished: if most failed it stays due. A few do not keep it open: a
                # retry of this run asks for them, as the live service does where the stream saw trades.
                if brought.fetched is not None and brought.fetched.stays_due:
                    _fail_on(brought, "failed")
            _fail_on(brought, "failed")
            _fail_on(brought, "refused")
            return await _metadata(brought)

        return dg.MaterializeResult(metadata=exchange.use(exchange_of(context), work))

    return candles


def _fail_on(brought: Brought, outcome: str) -> None:
    """A series that could not be fetched fails the asset, after all others were served."""
    failed = [one for one in brought.fetched.series if one.outcome == outcome] if brought.fetched else []
    if failed:
        first = failed[0]
        raise dg.Failure(
            f"{len(failed)} of {len(brought.cell.symbols)} symbols could not be fetched: first "
            f"{first.symbol}: "
            f"{first.reason}",
            metadata={"failed": table([{"symbol": one.symbol, "reason": one.reason} for one in failed])},
        )


async def _metadata(brought: Brought) -> Mapping[str, Any]:
    cell = brought.cell
    facts = {fact.symbol: fact for fact in brought.facts}
    by_symbol = {one.symbol: one for one in brought.fetched.series} if brought.fetched else {}
    rows: list[Row] = []
    for rank, symbol in enumerate(cell.symbols, 1):
        fact, fetched = facts.get(symbol), by_symbol.get(symbol)
        end_ms = fact.last_open_ms + cell.timeframe.ms if fact else None
        held = fact.count if fact else 0
        rows.append(
            {
                "rank": rank,
                "symbol": symbol,
                "candles" if brought.counted else f"candles (counted to {COUNT_TO:,})": held,
                "oldest (UTC)": utc_text(fact.first_open_ms) if fact else "",
                "newest (UTC)": utc_text(fact.last_open_ms) if fact else "",
                "behind boundary (s)": None if end_ms is None else max(0, cell.boundary_ms - end_ms) // 1000,
                "gaps": len(brought.gaps.get(symbol, ())),
                "requests": fetched.requests if fetched else 0,
                "outcome": fetched.outcome if fetched else "streamed",
            }
        )
    repaired = brought.synced.changed + (brought.filled.stored if brought.filled else 0)
    return {
        "exchange": cell.ctx.row.display_name,
        "picture": await picture_of(cell),
        "boundary": dg.MetadataValue.timestamp(cell.boundary_ms / 1000),
        # Dagster shows the row count as that of the whole asset.
        "dagster/row_count" if brought.counted else "candles, at least": sum(
            fact.count for fact in brought.facts
        ),
        "symbols monitored": len(cell.symbols),
        "candles fetched": brought.fetched.stored if brought.fetched else 0,
        "candles stored": brought.synced.added,
        "candles repaired": repaired,
        "requests used": brought.requests,
        "gaps left": sum(len(spans) for spans in brought.gaps.values()),
        "streamed": cell.streamed,
        "started by": "hand" if cell.by_hand else "boundary event",
        # Last, because it is long: in the UI the figures stand above it.
        "symbols": table(rows),
    }
