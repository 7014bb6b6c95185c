"""Runs that come at every boundary, or hour, are forgotten after a while."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

__all__ = ["forget_old_runs"]

KEPT_DAYS = 14
"""Runs older than this are forgotten, in ticks that have nothing else to do."""
FORGOTTEN_A_TICK = 20


def forget_old_runs(instance: dg.DagsterInstance, tags: Mapping[str, str], kept_days: int = KEPT_DAYS) -> int:
    """Delete a few ended runs with `tags` older than `kept_days`, oldest last; how many. What they made stays
    recorded."""
    before = datetime.now(UTC) - timedelta(days=kept_days)
    wanted = dg.RunsFilter(
        tags=dict(tags),
        statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        created_before=before,
    )
    old = instance.get_runs(wanted, limit=FORGOTTEN_A_TICK)
    for run in old:
        instance.delete_run(run.run_id)
    return len(old)
