"""Repair: answers the closer's questions by REST, each bucket once, and tells the ledger what is absent."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog
from psycopg import Error as DatabaseError
from redis.exceptions import RedisError

from livermore_dagster.clock import seconds_until
from livermore_dagster.errors import ExchangeError, RateLimited
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.intake import Reply, ask, store_absent, store_candles
from livermore_dagster.market.candle import Origin, StampedCandle
from livermore_dagster.market.closing import Closer, Question, Reason
from livermore_dagster.market.closing_rest import ANSWERS_MS, SETTLE_MS
from livermore_dagster.market.gaps import missing_ranges, plan_pages
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import metrics

__all__ = ["RepairQueue", "RepairReport", "repair"]

log = structlog.get_logger(__name__)

RETRY_AFTER_S = (3.0, 10.0, 30.0, 60.0)
"""Real seconds before a bucket REST could not answer for is asked again; then it is given up."""
LONGEST_WAIT_S = 5.0
"""Real seconds a question waits at most until REST is worth asking."""
CONCURRENCY = 4
CONFIRMS = 1_000_000
"""The rank of what is only asked once more: behind all that is missing."""


@dataclass(slots=True)
class RepairReport:
    asked: int = 0
    """Requests sent."""
    filled: int = 0
    """Candles written: new or changed."""
    absent: int = 0
    """Buckets proven absent."""
    given_up: int = 0
    """Buckets REST could not answer for within the retries."""
    failed: int = 0
    """Requests that failed."""
    retried: int = 0
    """Ranges asked for again: the request failed, or the reply lacked a bucket that had trades."""
    confirmed: int = 0
    """Candles asked for once more because REST had been asked before they could have settled."""
    corrected: int = 0
    """Those of them that had other values then."""


@dataclass(slots=True, eq=False)
class _Job:
    """Buckets of one series to ask for: [from_ms, to_ms)."""

    symbol: str
    timeframe: Timeframe
    rank: int
    from_ms: int
    to_ms: int
    attempt: int = 0
    silent: bool = False
    """No frame came for any of it: where REST has no row either, there is none to wait for in a hurry."""
    confirms: bool = False
    """A second look: final already, by rows that may have been early, or not there when it was due."""


class RepairQueue:
    """The live service's repair: `put` questions at any time, `run` until stopped; each bucket is asked once.

    Adjacent buckets of a series that wait together share a request. Lower ranks wait for higher ones.
    """

    def __init__(
        self,
        ctx: ExchangeContext,
        closer: Closer | None,
        *,
        retry_after_s: Sequence[float] = RETRY_AFTER_S,
        on_deaf: Callable[[str], None] | None = None,
    ) -> None:
        """`on_deaf(symbol)` hears of a symbol that trades while its stream says nothing."""
        self.total = RepairReport()
        self._retry_after_s = retry_after_s
        self._on_deaf = on_deaf
        self._ctx = ctx
        self._closer = closer
        self._jobs: dict[tuple[str, Timeframe], list[_Job]] = {}
        self._later: list[tuple[float, int, int, _Job]] = []
        """Heap by when they are due (monotonic), then rank and number."""
        self._due: list[tuple[int, int, _Job]] = []
        """Heap by rank and number."""
        self._count = 0
        self._working = 0
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Questions not yet answered, those under way included."""
        return sum(len(jobs) for jobs in self._jobs.values()) + self._working

    def put(self, questions: Sequence[Question]) -> None:
        """Never blocks, never drops."""
        for question in questions:
            job = _Job(question.symbol, question.timeframe, question.rank, question.from_ms, question.to_ms)
            job.silent = question.reason is Reason.SILENT
            self._add(job, self._wait_s(job))

    def confirm(self, candle: StampedCandle) -> None:
        """Asks once more for a candle REST gave before it could have settled, when it has."""
        self.look_again(candle.symbol, candle.timeframe, candle.candle.open_ms)

    def look_again(self, symbol: str, timeframe: Timeframe, open_ms: int) -> None:
        """Asks for a bar when it has settled, and a few times more while REST has no row of it.

        Nothing is concluded when it never has: nobody waits for that bar.
        """
        begin = timeframe.open_of(open_ms)
        job = _Job(symbol, timeframe, CONFIRMS, begin, begin + timeframe.ms)
        job.confirms = True
        self._add(job, self._until_s(job.to_ms + SETTLE_MS))

    def _wait_s(self, job: _Job) -> float:
        """Real seconds until it is worth asking, as far as the clock tells."""
        if job.confirms:
            return self._until_s(job.to_ms + SETTLE_MS)
        return min(self._until_s(job.to_ms + ANSWERS_MS), LONGEST_WAIT_S)

    def _until_s(self, exchange_ms: int) -> float:
        """Real seconds until the exchange's clock stands there, as far as it is known."""
        now = self._ctx.known_now()
        if now is None:
            return 0.0
        speed = self._closer.speed if self._closer is not None else 1.0
        return max(0.0, exchange_ms - now) / 1000 / speed

    def _add(self, job: _Job, wait_s: float) -> None:
        key = job.symbol, job.timeframe
        waiting = self._jobs.setdefault(key, [])
        for other in waiting:
            if (
                (other.attempt, other.confirms) == (job.attempt, job.confirms)
                and other.from_ms <= job.to_ms
                and job.from_ms <= other.to_ms
            ):
                other.silent &= job.silent
                other.from_ms = min(other.from_ms, job.from_ms)
                other.to_ms = max(other.to_ms, job.to_ms)
                return
        waiting.append(job)
        self._count += 1
        due = self._ctx.clock.monotonic() + wait_s
        heapq.heappush(self._later, (due, job.rank, self._count, job))
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set; what is under way then is left: the next warm-up finds it.

        Begun again after a failure, it takes up what the closer still waits for: a job may have died with it.
        """
        if self._closer is not None:
            self.put(self._closer.open_questions())
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(self._work()) for _ in range(CONCURRENCY)]
            await stop.wait()
            for worker in workers:
                worker.cancel()

    async def drain(self) -> None:
        """Works until nothing waits, retries included."""
        stop = asyncio.Event()
        runner = asyncio.create_task(self.run(stop))
        try:
            while self.waiting and not runner.done():
                await self._ctx.clock.sleep(0.05)
        finally:
            stop.set()
            await runner

    async def _work(self) -> None:
        while True:
            job = self._next()
            if job is None:
                await self._wait()
                continue
            early = self._wait_s(job) if job.attempt == 0 else 0.0
            if early > 0.05:
                # A later bucket joined it meanwhile.
                self._add(job, early)
                continue
            self._working += 1
            try:
                await self._answer(job)
            finally:
                self._working -= 1

    def _next(self) -> _Job | None:
        """The best-ranked job that is due."""
        now = self._ctx.clock.monotonic()
        while self._later and self._later[0][0] <= now:
            heapq.heappush(self._due, heapq.heappop(self._later)[1:])
        if not self._due:
            return None
        job = heapq.heappop(self._due)[2]
        jobs = self._jobs[job.symbol, job.timeframe]
        jobs.remove(job)
        if not jobs:
            del self._jobs[job.symbol, job.timeframe]
        return job

    async def _wait(self) -> None:
        """Until something was put or is due."""
        self._news.clear()
        now = self._ctx.clock.monotonic()
        timeout = max(0.01, self._later[0][0] - now) if self._later else None
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()

    async def _answer(self, job: _Job) -> None:
        """Asks, stores, tells the closer; what stays open is asked again later, or given up."""
        left: list[tuple[int, int]] = []
        bars = [(job.from_ms, job.to_ms)]
        failed = self.total.failed
        for page in plan_pages(bars, job.timeframe, self._ctx.quirks.rest_rows - 1):
            try:
                left += await self._ask_page(job, page)
            except RateLimited as closed:
                # No attempt: nothing was asked for, or nothing but the budget was answered.
                self._again_when_open(replace(job, from_ms=page[0], to_ms=page[1]), closed)
        answered = failed == self.total.failed
        for from_ms, to_ms in left:
            again = replace(job, from_ms=from_ms, to_ms=to_ms, attempt=job.attempt + 1)
            if job.attempt < len(self._retry_after_s):
                self.total.retried += 1
                wait_s = self._retry_after_s[job.attempt]
                if answered and job.silent:
                    # Most likely nothing was traded: asked again when that is proof.
                    wait_s = max(wait_s, self._until_s(to_ms + SETTLE_MS))
                self._add(again, wait_s)
            elif not job.confirms:
                await self._give_up(again)

    def _again_when_open(self, job: _Job, closed: RateLimited) -> None:
        self.total.retried += 1
        log.info(
            "repair waits", exchange=self._ctx.row.name, symbol=job.symbol, timeframe=job.timeframe.value,
            from_ms=job.from_ms, to_ms=job.to_ms, reason=str(closed),
        )  # fmt: skip
        self._add(job, max(1.0, seconds_until(self._ctx.clock, closed.retry_at_ms)))

    async def _ask_page(self, job: _Job, page: tuple[int, int]) -> list[tuple[int, int]]:
        """One request; returns what it left open. Raises RateLimited."""
        ctx = self._ctx
        self.total.asked += 1
        try:
            reply = await ask(ctx, job.symbol, job.timeframe, page, Priority.REPAIR, Origin.REPAIR)
            return await self._take(job, page, reply)
        except RateLimited:
            raise
        except (ExchangeError, RedisError, DatabaseError, OSError) as error:
            self.total.failed += 1
            log.warning(
                "repair failed", exchange=ctx.row.name, symbol=job.symbol, timeframe=job.timeframe.value,
                from_ms=page[0], to_ms=page[1], attempt=job.attempt, error=str(error),
            )  # fmt: skip
            return [page]

    async def _take(self, job: _Job, page: tuple[int, int], reply: Reply) -> list[tuple[int, int]]:
        effects = reply.effects
        if self._closer is not None:
            # The closer knows what the stream had shown: it is stricter about absence.
            effects = self._closer.on_rest(
                job.symbol, job.timeframe, page[0], page[1], reply.rows, reply.asked_ms
            )
            if self._on_deaf is not None:
                for symbol in effects.deaf:
                    self._on_deaf(symbol)
        # A second look concludes nothing: a bar the stream saw trades of may be later than absence takes.
        absent = [] if job.confirms else effects.absent
        # The ledger first: who folds the candles then knows which bars before them are absent.
        await store_absent(self._ctx, absent, reply.asked_ms)
        filled = await store_candles(self._ctx, effects.writes)
        self.total.filled += filled
        if job.confirms:
            self.total.confirmed += len(effects.writes)
            self.total.corrected += filled
        gone = [(from_ms, to_ms) for _, _, from_ms, to_ms in absent]
        self.total.absent += sum((to_ms - from_ms) // job.timeframe.ms for from_ms, to_ms in gone)
        opens = [write.candle.open_ms for write in effects.writes]
        return missing_ranges(opens, gone, page[0], page[1], job.timeframe)

    async def _give_up(self, job: _Job) -> None:
        ctx = self._ctx
        bars = (job.to_ms - job.from_ms) // job.timeframe.ms
        self.total.given_up += bars
        if self._closer is not None:
            self._closer.on_given_up(job.symbol, job.timeframe, job.from_ms, job.to_ms)
        text = f"{bars} {job.timeframe.value} candles of {job.symbol} could not be repaired by REST."
        log.error("repair given up", exchange=ctx.row.name, text=text, from_ms=job.from_ms, to_ms=job.to_ms)
        try:
            await metrics.incident(
                ctx.redis, IncidentName.REPAIR_GIVEN_UP, ctx.row.id, text,
                symbol=job.symbol, timeframe=job.timeframe.value, from_ms=job.from_ms, to_ms=job.to_ms,
            )  # fmt: skip
        except RedisError as error:
            log.warning("incident not noted", error=str(error))


async def repair(
    ctx: ExchangeContext, questions: Sequence[Question], closer: Closer | None = None
) -> RepairReport:
    """Answer `questions` in rank order, retries included, and report each answer to `closer`, if any."""
    queue = RepairQueue(ctx, closer)
    queue.put(questions)
    await queue.drain()
    return queue.total
