"""The repair queue, begun again after a failure."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

from livermore_dagster.clock import SystemClock
from livermore_dagster.ingest.repair import RepairQueue
from livermore_dagster.market.closing import Closer, Question, Reason
from livermore_dagster.market.timeframe import Timeframe


async def test_a_job_that_died_with_the_queue_is_taken_up_again() -> None:
    step = Timeframe.M1.ms
    closer = Closer(["A"], [Timeframe.M1], flagged=False)
    closer.on_clock(1_000 * step)
    questions = closer.on_clock(1_001 * step + 6_000).questions
    assert [question.reason for question in questions] == [Reason.SILENT]
    ctx = SimpleNamespace(clock=SystemClock(), known_now=lambda: None)
    queue = RepairQueue(ctx, closer)  # the one that had the question is gone
    stop = asyncio.Event()
    stop.set()
    await queue.run(stop)
    assert queue.waiting == 1
    await queue.run(stop)
    assert queue.waiting == 1, "what waits already is not asked twice"


def test_after_a_long_outage_the_best_rank_comes_first_and_soon() -> None:
    """Thousands of questions that are all due: a look at all of them for each took minutes."""
    step, count = Timeframe.M1.ms, 3_000
    queue = RepairQueue(SimpleNamespace(clock=SystemClock(), known_now=lambda: None), None)
    queue.put(
        [
            Question(f"S{rank}", Timeframe.M1, 0, step, Reason.UNPROVEN, rank)
            for rank in reversed(range(count))
        ]
    )
    begun = time.process_time()
    taken = [queue._next() for _ in range(count)]
    assert time.process_time() - begun < 1.0
    assert [job.rank for job in taken if job is not None] == list(range(count))
    assert queue.waiting == 0
