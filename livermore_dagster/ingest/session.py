"""One stint of an instance, from starting to stopped (N2): what it monitors, its warm-ups, its pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg
from redis.exceptions import RedisError

from livermore_dagster.control.states import InstanceState
from livermore_dagster.errors import ExchangeError, SessionOver, UsageError
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.ends import Ends
from livermore_dagster.ingest.machinery import Machinery
from livermore_dagster.ingest.own_clock import OwnClock
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.probe import probe_timeframes
from livermore_dagster.ingest.selection import Selection, select, tell_computed, tell_monitored
from livermore_dagster.ingest.symbols import follow_wishes, keep_product_list
from livermore_dagster.ingest.warmth import Warmth
from livermore_dagster.stores.redis.desired import Desired, read_desired
from livermore_dagster.stores.redis.overview import read_monitored
from livermore_dagster.stores.redis.symbol_events import SymbolEvent, append_symbol_event

__all__ = ["Change", "Session"]

_FOLLOW_S: Final = 0.5
_FIRST_TIME_S: Final = 5.0
_REPAIR: Final = "repair"
_WARM: Final = "warm"
_WARM_AGAIN: Final = "warm again"

T = TypeVar("T")
Advance = Callable[[InstanceState, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a new selection. `keys`: of Redis that were cleaned."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    symbols: int = 0
    keys: int = 0
    at_resume: bool = False
    """It is paused: the connections follow when it is resumed."""


class Session:
    """`run` returns when it has stopped. The others may be called at any time meanwhile, by anyone."""

    def __init__(
        self,
        ctx: ExchangeContext,
        board: StatusBoard,
        desired: Desired,
        patience: Patience,
        ends: Ends,
        advance: Advance,
        *,
        live: bool,
    ) -> None:
        """`live`: the exchange's time is the world's, so that this machine's clock can be judged by it."""
        self._ctx = ctx
        self._board = board
        self._patience = patience
        self._live = live
        self._ends = ends
        self._advance = advance
        self._desired = desired
        self._machinery: Machinery | None = None
        self._selection = Selection((), frozenset())
        self._paused = desired.paused
        self._turn = asyncio.Lock()
        """Held while connections are changed."""
        self._choosing = asyncio.Lock()
        self._under_way: asyncio.Task[None] | None = None
        """What a pause interrupts: the first warm-up, or a change of connections."""
        self._active = asyncio.Event()
        self._over = asyncio.Event()
        self._warmth = Warmth(ctx, board, patience, self.now, lambda: self.symbols)
        self._warmups = 0
        self._again_at: float | None = None
        """When (monotonic) a change is tried again that the exchange did not let be."""

    def now(self) -> int | None:
        return self._machinery.now() if self._machinery is not None else None

    @property
    def paused(self) -> bool:
        """A resumed one is not, though the gap may still be repaired."""
        return self._paused

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._selection.symbols

    # --- life ---------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Raises what ended it otherwise; nothing of it runs on then."""
        try:
            await self._advance(InstanceState.STARTING, "")
            await self._ends.unless(self._start())
            await self._ends.ended()
        except BaseException:
            self._over.set()
            if self._machinery is not None:
                await self._machinery.abort()
            raise
        self._over.set()
        await self._advance(InstanceState.STOPPING, self._ends.reason)
        if self._machinery is not None:
            self._interrupt()
            await self._machinery.supervisor.stop("desired")
            await self._machinery.stop()
        self._board.facts(paused=False, symbol_count=0)
        await self._advance(InstanceState.STOPPED, self._ends.reason)

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work` on this session. Raises SessionOver when the session ends before."""
        task = asyncio.create_task(work)
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise SessionOver(f"{self._ctx.row.name} was stopped before this was done.")
        finally:
            over.cancel()
            task.cancel()

    async def _start(self) -> None:
        ctx, board = self._ctx, self._board
        selection = await select(ctx, self._desired)
        if selection.symbols:
            await probe_timeframes(ctx, selection.symbols[0])
        left = (await read_monitored(ctx.redis, [ctx.row]))[ctx.row.id]
        await ctx.cache.welcome(selection.symbols)
        await self._tell_selection(selection, selection.symbols)
        self._selection = selection
        await append_symbol_event(ctx.redis, SymbolEvent(ctx.row.id, "start", ctx.clock.now_ms()))
        machinery = self._machinery = Machinery(ctx, board, selection.symbols, self._patience)
        self._ends.watch(machinery.supervisor.fatal)
        machinery.start(selection.timeframes)
        machinery.supervisor.start("desired", self._follow)
        machinery.supervisor.start("cleaning", lambda: self._clean(left))
        machinery.supervisor.start("wishes", lambda: follow_wishes(ctx, self._wishes_changed))
        machinery.supervisor.start("products", lambda: keep_product_list(ctx))
        if self._live:
            machinery.supervisor.start("own_clock", OwnClock(ctx, board).watch)
        # The first warm-up may end with the fatal part that `unless` cannot yet know of.
        await self._ends.unless(self._begin(machinery))

    async def _begin(self, machinery: Machinery) -> None:
        async with self._turn:
            if not self._paused:
                self._open_stream(machinery)
        if not self._paused:
            await self._first_time()
        await self._advance(InstanceState.WARMING, "")
        words = "paused, as it was before"
        if not self._paused:
            seconds = await self._first_warm_up()
            words = "paused before it was warm" if seconds is None else f"warm in {seconds:.1f} s"
            if cold := len(self._warmth.cold):
                words += f", but for {cold} symbols, which are tried again"
        self._board.facts(paused=self._paused)
        await self._advance(InstanceState.ACTIVE, words)
        if not self._paused:
            machinery.warmed()
        self._active.set()

    def _open_stream(self, machinery: Machinery) -> None:
        machinery.open_stream()
        machinery.supervisor.start(_WARM_AGAIN, self._warmth.again)

    async def _first_warm_up(self) -> float | None:
        """Seconds it took; None when a pause came first."""
        took: list[float] = []

        async def warm() -> None:
            took.append(await self._warm_all())

        await self._interruptible(warm())
        return took[0] if took else None

    async def _warm_all(self) -> float:
        """Seconds it took. What closes from its beginning on is news, of timeframes that are new too."""
        await self._tell_computed(self._selection)
        seconds = await self._warmth.warm(self._selection.symbols)
        # The exchange's time may be known only now.
        await self._tell_computed(self._selection)
        return seconds

    async def _tell_computed(self, selection: Selection) -> None:
        await tell_computed(self._ctx, selection.timeframes, self._ctx.known_now())

    async def _first_time(self) -> None:
        """Waits a little for the stream to tell the exchange's time; REST is asked where it does not."""
        clock = self._ctx.clock
        deadline = clock.monotonic() + _FIRST_TIME_S
        while self.now() is None and not self._paused and clock.monotonic() < deadline:
            await clock.sleep(0.05)

    async def _follow(self) -> None:
        """Part: does what is wanted now, whoever wrote it."""
        while not self._ends.stopped.is_set():
            wanted = await read_desired(self._ctx.redis, self._ctx.row.id)
            if wanted is not None:
                await self._obey(wanted)
            await self._ctx.clock.sleep(_FOLLOW_S)

    async def _obey(self, wanted: Desired) -> None:
        if wanted.state != "running":
            self._ends.stop(f"stopped by {wanted.user}" if wanted.user else "a stop was asked for")
            return
        if wanted.paused != self._paused and self._active.is_set():
            await (self.pause() if wanted.paused else self.resume())
        due = self._again_at is not None and self._ctx.clock.monotonic() >= self._again_at
        if due or wanted.selects != self._desired.selects:
            await self._reload_if_it_can(wanted)

    async def _wishes_changed(self) -> None:
        """What users want, or the exchange lists, has changed."""
        await self._active.wait()
        await self._reload_if_it_can(self._desired)

    async def _reload_if_it_can(self, wanted: Desired) -> None:
        """What cannot be had is said; it goes on with what it had, and tries a change again that the exchange
        did not let be."""
        try:
            await self.reload(wanted)
        except (UsageError, ExchangeError) as error:
            self._desired = wanted
            await self._board.error(str(error))

    # --- pause and resume ---------------------------------------------------------------------------------
    async def pause(self) -> bool:
        """Closes the sockets, whatever is under way; False when it is paused already."""
        if self._paused:
            return False
        self._paused = True
        machinery = await self._built()
        self._interrupt()
        added = (f"{_WARM} {n}" for n in range(self._warmups + 1))
        await machinery.supervisor.stop(_REPAIR, _WARM_AGAIN, *added)
        async with self._turn:
            await machinery.close_stream()
        self._board.facts(paused=True)
        await self._active.wait()
        return True

    async def resume(self) -> bool:
        """Opens new sockets; the gap is repaired behind them, then boundaries are raised.

        False when it was not paused.
        """
        if not self._paused:
            return False
        machinery = await self._built()
        await self._active.wait()
        async with self._turn:
            if not self._paused:
                return False  # somebody else resumed it meanwhile
            self._paused = False
            self._open_stream(machinery)
        machinery.supervisor.start(_REPAIR, self._repair)
        return True

    async def repaired(self, seconds: float) -> bool:
        """Whether the gap of a pause is repaired, after waiting for that so long."""
        machinery = await self._built()
        return await machinery.supervisor.ended(_REPAIR, within_s=seconds)

    async def _repair(self) -> None:
        """Part: until the gap is repaired."""
        await self._first_time()
        await self._warm_all()
        if self._machinery is not None:
            self._machinery.warmed()
        self._board.facts(paused=False)

    def _interrupt(self) -> None:
        if self._under_way is not None:
            self._under_way.cancel()

    async def _interruptible(self, work: Awaitable[None]) -> bool:
        """Whether `work` was done; False when a pause came between."""

        async def run() -> None:
            await work

        task = self._under_way = asyncio.create_task(run())
        try:
            await asyncio.wait({task})
        finally:
            self._under_way = None
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1.0)
        if task.cancelled():
            return False
        task.result()
        return True

    # --- what is monitored --------------------------------------------------------------------------------
    async def reload(self, desired: Desired) -> Change:
        """Chooses anew by `desired` and the users' settings, and makes that true: new symbols stream at once
        and are warmed behind that, those gone are cleaned. Raises what choosing and connecting raise."""
        machinery = await self._built()
        async with self._choosing:
            selection = await select(self._ctx, desired)
            self._desired, self._again_at = desired, None
            before = self._selection.symbols
            added = tuple(one for one in selection.symbols if one not in set(before))
            # What an attempt that failed has connected goes as well.
            had = dict.fromkeys((*before, *machinery.symbols))
            removed = tuple(one for one in had if one not in set(selection.symbols))
            try:
                cleaned = await self._make_true(machinery, selection, added, removed)
            except (ExchangeError, RedisError, psycopg.Error, OSError):
                self._again_at = self._ctx.clock.monotonic() + self._patience.again_s
                raise
        if added and not self._paused:
            self._warmups += 1
            machinery.supervisor.start(f"{_WARM} {self._warmups}", lambda: self._warm_added(added))
        return Change(added, removed, len(selection.symbols), cleaned, at_resume=self._paused)

    async def _make_true(
        self, machinery: Machinery, selection: Selection, added: Sequence[str], removed: Sequence[str]
    ) -> int:
        """How many keys were cleaned. The selection is it when all is done: what failed is done again."""
        if selection.symbols != machinery.symbols:
            await self._connect(machinery, selection.symbols, added)
        await self._tell_selection(selection, added, added=added)
        if selection.timeframes != self._selection.timeframes and not removed:
            await machinery.compute(selection.timeframes)
        cleaned = await machinery.forget(removed, selection.timeframes)
        await self._tell_computed(selection)
        self._selection = selection
        return cleaned

    async def _connect(self, machinery: Machinery, symbols: Sequence[str], added: Sequence[str]) -> None:
        await self._ctx.cache.welcome(added)
        try:
            async with self._turn:
                if not await self._interruptible(machinery.change(symbols)):
                    machinery.symbols = tuple(symbols)  # paused meanwhile: there is no connection to change
        except ExchangeError:
            # Some of the new connections may have brought something.
            await machinery.forget(added, self._selection.timeframes)
            raise

    async def _clean(self, before: Sequence[str]) -> None:
        """Part: once, for what an earlier stint monitored and this one does not."""
        async with self._choosing:
            now = set(self._selection.symbols)
            gone = [symbol for symbol in before if symbol not in now]
            await (await self._built()).forget(gone, self._selection.timeframes)

    async def warmed(self, seconds: float) -> bool:
        """Whether the newest added symbols are warm, after waiting for that so long."""
        machinery, name = await self._built(), f"{_WARM} {self._warmups}"
        return await machinery.supervisor.ended(name, within_s=seconds)

    async def _warm_added(self, symbols: Sequence[str]) -> None:
        """Part: until they are warm, or a pause came, after which all are warmed up."""
        wanted = [symbol for symbol in symbols if symbol in set(self._selection.symbols)]
        if not self._paused:
            await self._warmth.warm(wanted)

    async def _tell_selection(
        self, selection: Selection, cold: Sequence[str], *, added: Sequence[str] = ()
    ) -> None:
        self._board.facts(symbol_count=len(selection.symbols), mode=self._desired.mode)
        await self._ctx.cache.place(selection.owners)
        await tell_monitored(self._ctx, selection.symbols, cold, added=added)

    async def _built(self) -> Machinery:
        """The machinery, once there is one."""
        while self._machinery is None:
            await self._ctx.clock.sleep(0.02)
        return self._machinery
