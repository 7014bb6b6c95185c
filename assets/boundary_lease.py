"""Tells the live service that a run has a boundary in hand, so that it need not fetch it itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import dagster as dg
import structlog
from redis import RedisError

from livermore_dagster.audit.cell import Cell
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.resources import DUE_TAG, RAISED_TAG
from livermore_dagster.stores.redis import boundaries
from livermore_dagster.stores.redis.metrics import LatencyHistogram

__all__ = ["boundary_lease", "due_in"]

log = structlog.get_logger(__name__)

RENEW_S = 8.0
WAIT_S = 60.0
_brought: dict[str, set[Timeframe]] = {}
"""By run: timeframes brought up to the boundary. A run is one process (in-process executor)."""
RUNS_KEPT = 8
"""A process has one run after the other; of one that failed nothing more comes."""


@asynccontextmanager
async def boundary_lease(cell: Cell, run: dg.DagsterRun, created_ms: int) -> AsyncIterator[None]:
    """Hold the cell's boundary for this run while its candles are brought up; nothing to hold by hand.

    The boundary is finished with the last due timeframe. Where the live service was first, its fetch is
    awaited:
    what follows then finds its candles there.
    """
    if cell.by_hand:
        yield
        return
    client, exchange_id, boundary_ms = cell.ctx.redis, cell.ctx.row.id, cell.boundary_ms
    by = f"run:{run.root_run_id or run.run_id}"
    brought = _brought_in(run.run_id)
    if not brought:
        await _observe(cell, run.tags, created_ms)
    mine = await boundaries.begin(client, exchange_id, boundary_ms, by) or await _other_done(cell, by)
    renewal = asyncio.create_task(_renew(cell, by))
    try:
        yield
    finally:
        renewal.cancel()
        with suppress(asyncio.CancelledError):
            await renewal
    brought.add(cell.timeframe)
    if brought >= due_in(run):
        _brought.pop(run.run_id, None)
        if mine:
            await boundaries.finish(client, exchange_id, boundary_ms, by)


def _brought_in(run_id: str) -> set[Timeframe]:
    brought = _brought.setdefault(run_id, set())
    while len(_brought) > RUNS_KEPT:
        del _brought[next(iter(_brought))]
    return brought


def due_in(run: dg.DagsterRun) -> set[Timeframe]:
    """Timeframes this run brings up: those due, less what an earlier attempt of the same run did already."""
    due = {Timeframe.parse(text) for text in run.tags.get(DUE_TAG, "").split(",") if text}
    steps = run.step_keys_to_execute
    return (
        due if steps is None else {timeframe for timeframe in due if f"candles__{timeframe.value}" in steps}
    )


async def _observe(cell: Cell, tags: Mapping[str, str], created_ms: int) -> None:
    """How long after its event the run was created; a retry is another run of the same event and not
    counted."""
    if RAISED_TAG in tags and "dagster/parent_run_id" not in tags:
        late_ms = created_ms - int(tags[RAISED_TAG])
        await LatencyHistogram("boundary_to_run").observe(cell.ctx.redis, max(0, late_ms))


async def _other_done(cell: Cell, by: str) -> bool:
    """Wait until who else fetches this boundary has finished; True if it died and the boundary is ours
    now."""
    for _ in range(int(WAIT_S)):
        record = await boundaries.handled(cell.ctx.redis, cell.ctx.row.id, cell.boundary_ms)
        if record is not None and record.state == "finished":
            return False
        if await boundaries.begin(cell.ctx.redis, cell.ctx.row.id, cell.boundary_ms, by):
            return True
        await boundaries.run_lives(cell.ctx.redis, cell.ctx.row.id, cell.boundary_ms)
        await asyncio.sleep(1.0)
    return False


async def _renew(cell: Cell, by: str) -> None:
    """A sign of life that cannot be given fails no fetch: at worst the live service fetches the same."""
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            await boundaries.renew(cell.ctx.redis, cell.ctx.row.id, cell.boundary_ms, by)
            await boundaries.run_lives(cell.ctx.redis, cell.ctx.row.id, cell.boundary_ms)
        except RedisError as error:
            log.warning("boundary_not_renewed", exchange=cell.ctx.row.name, error=str(error))
