"""Raises each 15m boundary of the exchange's clock once, and fetches what fell due if nobody else does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

import psycopg
import redis.asyncio
import structlog

from livermore_dagster.clock import Clock, seconds_until
from livermore_dagster.errors import ExchangeError, RateLimited
from livermore_dagster.market.boundary import BOUNDARY_MS, boundary_of, due
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.timeframe import BOUNDARY_TIMEFRAMES, Timeframe
from livermore_dagster.stores.redis import boundaries
from livermore_dagster.stores.redis.symbol_events import SymbolEvent, append_symbol_event

__all__ = ["BoundaryRaiser"]

log = structlog.get_logger(__name__)

_FALLBACK_S: Final = 10.0
_MISSING_S: Final = 30.0
"""A run that has not begun by then is missed; what it should have fetched is here by then."""
_JUDGED_S: Final = BOUNDARY_MS / 1000
"""Real seconds after which nobody looks for a boundary's run any more: the next one is judged by then."""
_LAST_LOOK_S: Final = 0.5
_RENEW_S: Final = 8.0
_TAKE_OVER_S: Final = 15.0
_GIVE_UP_S: Final = 180.0
_TRY_AGAIN: Final = (redis.RedisError, psycopg.Error, OSError, ExchangeError)
"""What may be mended a little later: a server, a network or an exchange that is away."""

Fetch = Callable[[int, Sequence[Timeframe]], Awaitable[None]]
Settled = Callable[[int], tuple[Sequence[str], Sequence[str]]]
Tell = Callable[[str], Awaitable[None]]


async def _nothing(boundary_ms: int, timeframes: Sequence[Timeframe]) -> None:
    """For who needs not hear of a boundary that is handled."""


class BoundaryRaiser:
    """`on_clock` never waits; `run` appends the events. Market time says when, real time how long to wait."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        row: ExchangeRow,
        clock: Clock,
        *,
        grace_ms: int,
        by: str,
        settled: Settled,
        fetch: Fetch,
        on_fallback: Callable[[str, bool], None],
        on_failure: Tell,
        on_begun: Callable[[int], None] = lambda _: None,
        on_raised: Callable[[int], None] = lambda _: None,
        on_handled: Fetch = _nothing,
        leave: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """`settled(boundary)` splits the monitored symbols; `fetch` is the function boundary runs use too.

        `on_begun` is told of each boundary fetched here when that begins; `on_fallback(text, missing)` when
        it is known why, `missing` unless its run came late or another at work went before it; `on_failure`
        when the fetch fails; `on_raised` of each boundary raised, `on_handled` of each with something to
        fetch, whoever fetched it.
        `leave(boundary)` is asked after the last try: whether it lacks so little that others see to that.
        """
        self._redis = client
        self._row = row
        self._clock = clock
        self._grace_ms = grace_ms
        self._by = by
        self._settled = settled
        self._fetch = fetch
        self._on_fallback = on_fallback
        self._on_failure = on_failure
        self._on_begun = on_begun
        self._on_raised = on_raised
        self._on_handled = on_handled
        self._leave = leave
        self._reached = 0
        self._first = 0
        """The boundary behind which the first clock reading lay: history, when none was ever raised."""
        self._raised = 0
        """The newest raised here or found raised: what failed before it is due there."""
        self._wake = asyncio.Event()
        self._open = asyncio.Event()
        self._watches: set[asyncio.Task[None]] = set()
        self._unjudged: set[int] = set()
        """Boundaries fetched here of which it is not told yet why."""

    def on_clock(self, exchange_ms: int) -> None:
        """The exchange's clock stands at `exchange_ms`."""
        boundary = boundary_of(exchange_ms - self._grace_ms)
        if boundary > self._reached:
            self._first = self._first or boundary
            self._reached = boundary
            self._wake.set()

    def open(self) -> None:
        """The warm-up is done. Until then it has the budget to itself and fetches what falls due anyway;
        boundaries passed meanwhile are raised now, as one."""
        self._open.set()

    async def run(self) -> None:
        """Until cancelled. What lies behind the start is raised only if an earlier boundary ever was."""
        raised = await boundaries.last_raised(self._redis, self._row.id)
        await self._open.wait()
        await self._wake.wait()
        day_since = raised
        if raised is None:
            raised = self._first
        begun = raised - BOUNDARY_MS
        if day_since is None:
            day_since = begun
        while True:
            if self._reached > raised:
                boundary = self._reached
                # A 1d that stays due was told of when its day ended.
                new_day = boundary // Timeframe.D1.ms > day_since // Timeframe.D1.ms
                await self._raise(boundary, begun, new_day=new_day)
                raised = day_since = boundary
            self._wake.clear()
            if self._reached <= raised:
                await self._wake.wait()

    async def close(self) -> None:
        """Ends what is still being watched or fetched; why it was fetched here is told as far as known."""
        for watch in self._watches:
            watch.cancel()
        if self._unjudged:
            await self._judge_now()
        if self._watches:
            await asyncio.wait(self._watches)

    async def _raise(self, boundary_ms: int, begun_ms: int, *, new_day: bool) -> None:
        """Due is what ended since the last boundary handled; before any was, since `begun_ms`."""
        handled = await boundaries.last_handled(self._redis, self._row.id)
        known = [timeframe for timeframe in BOUNDARY_TIMEFRAMES if timeframe in self._row.timeframes]
        timeframes = due(begun_ms if handled is None else handled, boundary_ms, known)
        settled, unsettled = self._settled(boundary_ms)
        entry = await boundaries.raise_boundary(
            self._redis, self._row.id, boundary_ms, timeframes, settled, unsettled, self._clock.now_ms()
        )
        self._raised = boundary_ms
        if entry is None:
            return
        log.info(
            "boundary",
            exchange=self._row.name,
            boundary_ms=boundary_ms,
            timeframes=[tf.value for tf in timeframes],
        )
        fetched = [tf for tf in timeframes if tf not in self._row.streamed_timeframes]
        if fetched:
            self._keep(self._watch(boundary_ms, fetched))
        self._on_raised(boundary_ms)
        # Last, for it may fail: the watch over the boundary must be there by then.
        if new_day and Timeframe.D1 in timeframes:
            event = SymbolEvent(
                self._row.id, "day", self._clock.now_ms(), reason=f"{utc_text(boundary_ms)} UTC"
            )
            await append_symbol_event(self._redis, event)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        watch = asyncio.create_task(work)
        self._watches.add(watch)
        watch.add_done_callback(self._ended)

    def _ended(self, watch: asyncio.Task[None]) -> None:
        self._watches.discard(watch)
        if not watch.cancelled() and (error := watch.exception()) is not None:
            log.error("boundary_fallback_failed", exchange=self._row.name, exc_info=error)

    async def _watch(self, boundary_ms: int, timeframes: Sequence[Timeframe]) -> None:
        """Fetches here when nobody has begun in time, or whoever had has died or failed.

        Tries on while it fails, for some minutes more than the budget is closed, or until the next boundary
        is raised; then a few series that fail still are left.
        """
        deadline = self._clock.monotonic() + _GIVE_UP_S
        wait_s, told, failure, last_told = _FALLBACK_S, False, "", ""
        while self._clock.monotonic() < deadline:
            await self._clock.sleep(wait_s)
            wait_s = _TAKE_OVER_S
            if failure and self._raised > boundary_ms:
                break
            try:
                if await self._is_handled(boundary_ms):
                    await self._on_handled(boundary_ms, timeframes)
                    return
                begun = await boundaries.handled(self._redis, self._row.id, boundary_ms)
                if await boundaries.begin(self._redis, self._row.id, boundary_ms, self._by):
                    if not told:
                        self._tell_fallback(boundary_ms, begun)
                        told = True
                    await self._fall_back(boundary_ms, timeframes)
                    await self._on_handled(boundary_ms, timeframes)
                    return
            except _TRY_AGAIN as error:
                failure = str(error) or type(error).__name__
                if isinstance(error, RateLimited):
                    wait_s = max(wait_s, seconds_until(self._clock, error.retry_at_ms))
                    deadline = max(deadline, self._clock.monotonic() + wait_s + _TAKE_OVER_S)
                log.warning("boundary_watch_waits", exchange=self._row.name, error=failure)
                if told and failure != last_told:
                    last_told = failure
                    await self._on_failure(
                        f"{self._row.name}: fetching the boundary of {utc_text(boundary_ms)} UTC failed and "
                        f"is tried again: {failure}"
                    )
        if failure:
            rest = "what it lacks is due again at the next one"
            if await self._left_over(boundary_ms, timeframes):
                rest = "what it lacks is left to repair and to later fetches"
            await self._on_failure(
                f"{self._row.name}: the boundary of {utc_text(boundary_ms)} UTC could not be fetched whole; "
                f"{rest}. Last: {failure}"
            )

    async def _left_over(self, boundary_ms: int, timeframes: Sequence[Timeframe]) -> bool:
        """Finishes the boundary where others see to what it lacks."""
        if not self._leave(boundary_ms):
            return False
        try:
            await boundaries.finish(self._redis, self._row.id, boundary_ms, self._by)
            await self._on_handled(boundary_ms, timeframes)
        except _TRY_AGAIN as error:
            log.warning("boundary_not_finished", exchange=self._row.name, error=str(error))
            return False
        return True

    async def _is_handled(self, boundary_ms: int) -> bool:
        """A later boundary that was finished counts: what was due here was still due there."""
        last = await boundaries.last_handled(self._redis, self._row.id)
        return last is not None and last >= boundary_ms

    def _tell_fallback(self, boundary_ms: int, begun: boundaries.BoundaryRecord | None) -> None:
        """The fetch waits for no run that only comes late; the judgement does."""
        self._on_begun(boundary_ms)
        if begun is None:
            self._unjudged.add(boundary_ms)
            self._keep(self._judge(boundary_ms))
            return
        text = f"{self._row.name}: who began {_named(boundary_ms)} has died or failed"
        self._on_fallback(f"{text}; the live service fetches it.", True)

    async def _judge(self, boundary_ms: int) -> None:
        """Missing is a run that nobody can be waiting for: none is at work at two looks in a row.

        A run's sign of life lasts longer than the time between looks: none is overlooked. Where an older
        one is at work, the next may never come: who starts them may have died with it.
        """
        deadline = self._clock.monotonic() + _JUDGED_S
        older: int | None = None
        at_work = await self._run_at_work()
        while (at_work is None or at_work < boundary_ms) and self._clock.monotonic() < deadline:
            before, older = at_work, at_work or older
            await self._clock.sleep(_MISSING_S - _FALLBACK_S)
            at_work = await self._run_at_work()
            if at_work is None and before is None:
                break
        why = f"no run began {_named(boundary_ms)} within {_MISSING_S:g} s"
        if older is not None:
            why = f"no run began {_named(boundary_ms)} after the one of {utc_text(older)} UTC"
        self._tell_judged(boundary_ms, at_work, why)

    async def _judge_now(self) -> None:
        """Tells of each that is not judged yet what is known, within a moment."""
        at_work: int | None = None
        try:
            async with asyncio.timeout(_LAST_LOOK_S):
                at_work = await self._run_at_work()
        except TimeoutError:
            log.warning("cut_short", what="runs at work", seconds=_LAST_LOOK_S)
        for boundary_ms in sorted(self._unjudged):
            why = f"no run had begun {_named(boundary_ms)} when its watch was ended"
            self._tell_judged(boundary_ms, at_work, why)

    def _tell_judged(self, boundary_ms: int, at_work: int | None, why_missing: str) -> None:
        """Once for each; `at_work`: the boundary of the run seen last."""
        self._unjudged.discard(boundary_ms)
        why = why_missing
        if at_work == boundary_ms:
            why = f"the run of {_named(boundary_ms)} began late"
        elif at_work is not None:
            why = f"{_named(boundary_ms)} waits for the run of {utc_text(at_work)} UTC"
        fetched = f"the live service began to fetch it {_FALLBACK_S:g} s after it was raised"
        self._on_fallback(f"{self._row.name}: {why}; {fetched}.", at_work is None)

    async def _run_at_work(self) -> int | None:
        try:
            return await boundaries.run_at_work(self._redis, self._row.id)
        except redis.RedisError as error:
            log.warning("runs_unseen", exchange=self._row.name, error=type(error).__name__)
            return None

    async def _fall_back(self, boundary_ms: int, timeframes: Sequence[Timeframe]) -> None:
        fetching = asyncio.ensure_future(self._fetch(boundary_ms, timeframes))
        try:
            while not fetching.done():
                await asyncio.wait({fetching}, timeout=_RENEW_S)
                await self._renew(boundary_ms)
        finally:
            if not fetching.done():
                fetching.cancel()
                await asyncio.wait({fetching}, timeout=1.0)
        await fetching
        await boundaries.finish(self._redis, self._row.id, boundary_ms, self._by)

    async def _renew(self, boundary_ms: int) -> None:
        """A sign of life that cannot be given ends no fetch: at worst another fetches the same."""
        try:
            await boundaries.renew(self._redis, self._row.id, boundary_ms, self._by)
        except redis.RedisError as error:
            log.warning("boundary_not_renewed", exchange=self._row.name, error=str(error))


def _named(boundary_ms: int) -> str:
    return f"the boundary of {utc_text(boundary_ms)} UTC"
