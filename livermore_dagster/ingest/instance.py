"""One exchange's live instance, from claim to clean stop, inside one event loop (N2–N4)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

import psycopg
import redis
import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.public_ip import public_ip
from livermore_dagster.control.states import InstanceState
from livermore_dagster.errors import ClaimLost, UsageError
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext, Servers, open_context
from livermore_dagster.ingest.machinery import Machinery
from livermore_dagster.ingest.own_clock import OwnClock
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.probe import probe_timeframes
from livermore_dagster.ingest.supervise import TRANSIENT
from livermore_dagster.ingest.symbols import choose_symbols, keep_selection
from livermore_dagster.ingest.warmup import WarmupStats, warm_up
from livermore_dagster.stores.postgres.connect import conninfo
from livermore_dagster.stores.postgres.provenance import claim_provenance as claim_database
from livermore_dagster.stores.redis.client import connect, refuse_cluster
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice, give_up_desired, read_desired
from livermore_dagster.stores.redis.provenance import claim_provenance as claim_redis

__all__ = ["Instance"]

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 50.0
"""How long an overdue holder's claim is waited out; one that beats is a conflict at once."""
_FOLLOW_S: Final = 0.5
_FIRST_TIME_S: Final = 5.0
_CLAIM_SOCKET_S: Final = 5.0

T = TypeVar("T")


class Instance:
    """`run` returns after a clean stop and raises what ended it otherwise. Used from its own loop only."""

    def __init__(
        self,
        servers: Servers,
        exchange: str,
        *,
        provenance: str,
        run_id: str | None,
        token: str | None = None,
        clock: Clock,
        patience: Patience,
        on_claimed: Callable[[], None],
        on_state: Callable[[InstanceState], None],
    ) -> None:
        self._servers = servers
        self._exchange = exchange
        self._provenance = provenance
        self._run_id = run_id
        self._token = token
        self._clock = clock
        self._patience = patience
        self._on_claimed = on_claimed
        self._on_state = on_state
        self._stop = asyncio.Event()
        self._stop_reason = ""
        self._lost: asyncio.Future[ClaimLost] = asyncio.get_running_loop().create_future()
        self._machinery: Machinery | None = None

    def request_stop(self, reason: str) -> None:
        if not self._stop.is_set():
            self._stop_reason = reason
            self._stop.set()

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            ctx = await stack.enter_async_context(
                open_context(self._exchange, self._servers, clock=self._clock, live_clock=self._live_clock)
            )
            await self._check_stores(ctx)
            desired = await read_desired(ctx.redis, ctx.row.id)
            client = redis.Redis.from_url(
                self._servers.redis_url,
                decode_responses=True,
                socket_timeout=_CLAIM_SOCKET_S,
                socket_connect_timeout=_CLAIM_SOCKET_S,
            )
            stack.callback(client.close)
            claim = self._claim(client, ctx, desired)
            await asyncio.to_thread(claim.acquire, PATIENCE_S)
            try:
                claim.start_heartbeat()
                self._on_claimed()
                await self._live(ctx, StatusBoard(claim, ctx.redis, ctx.row.id), desired)
            finally:
                await asyncio.to_thread(_release, claim)

    # --- beginning ----------------------------------------------------------------------------------------
    async def _check_stores(self, ctx: ExchangeContext) -> None:
        """Raises ClusterRefused or ProvenanceMismatch before anything is written."""
        await refuse_cluster(ctx.redis)
        await asyncio.to_thread(self._stamp)

    def _stamp(self) -> None:
        with connect(self._servers.redis_url) as client:
            claim_redis(client, self._provenance)
        with psycopg.connect(conninfo(self._servers.database_url, self._servers.database_ca)) as connection:
            claim_database(connection, self._provenance)

    def _claim(self, client: redis.Redis, ctx: ExchangeContext, desired: Desired | None) -> Claim:
        loop = asyncio.get_running_loop()

        def tell_lost(lost: ClaimLost) -> None:
            loop.call_soon_threadsafe(self._note_lost, lost)

        user = desired.user if desired is not None else ""
        return Claim(
            client,
            ctx.row.id,
            ctx.row.name,
            run_id=self._run_id,
            token=self._token,
            admin=(user if "@" in user else "", user),
            clock=self._clock,
            on_lost=tell_lost,
        )

    def _note_lost(self, lost: ClaimLost) -> None:
        if not self._lost.done():
            self._lost.set_result(lost)

    def _live_clock(self) -> int | None:
        return self._machinery.pipeline.now() if self._machinery is not None else None

    # --- living -------------------------------------------------------------------------------------------
    async def _live(self, ctx: ExchangeContext, board: StatusBoard, desired: Desired | None) -> None:
        choice = desired.symbols if desired is not None else SymbolChoice()
        try:
            await self._advance(board, InstanceState.STARTING)
            if await self._start(ctx, board, choice):
                await self._until_end()
        except BaseException as error:
            await self._fail(ctx, board, desired, error)
            raise
        await self._advance(board, InstanceState.STOPPING, self._stop_reason)
        if self._machinery is not None:
            await self._machinery.stop()
        await self._advance(board, InstanceState.STOPPED, self._stop_reason)

    async def _start(self, ctx: ExchangeContext, board: StatusBoard, choice: SymbolChoice) -> bool:
        """Everything up to active; False when a stop came first."""
        symbols = await self._unless_ended(choose_symbols(ctx, choice))
        if symbols is None:
            return False
        if symbols:
            await self._unless_ended(probe_timeframes(ctx, symbols[0]))
        board.facts(symbol_count=len(symbols))
        machinery = self._machinery = Machinery(ctx, board, symbols, self._patience)
        machinery.start()
        machinery.supervisor.start("desired", lambda: self._follow(ctx, choice))
        machinery.supervisor.start("selection", lambda: keep_selection(ctx, symbols))
        if self._provenance == "live":
            machinery.supervisor.start("public_ip", lambda: _tell_public_ip(board))
            machinery.supervisor.start("own_clock", OwnClock(ctx, board).watch)
        await self._unless_ended(self._first_time())
        if self._stop.is_set():
            return False
        await self._advance(board, InstanceState.WARMING)
        report = await self._unless_ended(
            warm_up(ctx, symbols, self._live_clock(), _log_progress, timeframes=ctx.row.live_timeframes)
        )
        if report is None:
            return False
        await self._advance(board, InstanceState.ACTIVE, f"warm in {report.seconds:.1f} s")
        machinery.warmed()
        return True

    async def _first_time(self) -> None:
        """Waits a little for the stream to tell the exchange's time; REST is asked where it does not."""
        deadline = self._clock.monotonic() + _FIRST_TIME_S
        while self._live_clock() is None and self._clock.monotonic() < deadline:
            await self._clock.sleep(0.05)

    async def _follow(self, ctx: ExchangeContext, choice: SymbolChoice) -> None:
        """Part: ends the instance when it is wanted stopped, or with other symbols."""
        while not self._stop.is_set():
            wanted = await read_desired(ctx.redis, ctx.row.id)
            if wanted is not None and wanted.state == "stopped":
                self.request_stop("stop was asked for")
            elif wanted is not None and wanted.symbols != choice:
                self.request_stop("other symbols were asked for")
            await self._clock.sleep(_FOLLOW_S)

    async def _until_end(self) -> None:
        await self._unless_ended(asyncio.get_running_loop().create_future())

    async def _unless_ended(self, work: Awaitable[T]) -> T | None:
        """The result of `work`, or None when a stop was asked for first.

        Raises ClaimLost when the claim is lost and a part's error when it failed too often.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.create_task(self._stop.wait())
        ends: set[asyncio.Future[Any]] = {task, stop, self._lost}
        if self._machinery is not None:
            ends.add(self._machinery.supervisor.fatal)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise self._lost.result()
            if self._machinery is not None and self._machinery.supervisor.fatal.done():
                raise self._machinery.supervisor.fatal.result()
            return task.result() if task.done() else None
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1.0)

    # --- ending -------------------------------------------------------------------------------------------
    async def _fail(
        self, ctx: ExchangeContext, board: StatusBoard, desired: Desired | None, error: BaseException
    ) -> None:
        """N4: told, then out of the way. A lost claim is another's: nothing more is written under it."""
        if self._machinery is not None:
            await self._machinery.abort()
        if isinstance(error, ClaimLost):
            return
        if isinstance(error, UsageError) and desired is not None:
            await self._give_up(ctx, desired, error)
        words = str(error) or type(error).__name__
        failing = board.state in (InstanceState.STARTING, InstanceState.WARMING)
        log.error(
            "instance_failed", exchange=self._exchange, error=words, expected=isinstance(error, TRANSIENT)
        )
        board.trouble(IncidentName.START_FAILED if failing else IncidentName.INGEST_FAILED, words)
        try:
            await board.error(words)
            if failing:
                await self._advance(board, InstanceState.IDLE, "start failed")
            elif board.state is InstanceState.ACTIVE:
                await self._advance(board, InstanceState.STOPPING, words)
                await self._advance(board, InstanceState.STOPPED, words)
        except ClaimLost as lost:
            log.warning("failure_untold", reason=lost.message)

    async def _give_up(self, ctx: ExchangeContext, desired: Desired, error: UsageError) -> None:
        """What was asked for cannot be: the keeper shall not start it again and again."""
        try:
            if await give_up_desired(ctx.redis, ctx.row.id, desired, str(error)):
                log.warning("given_up", exchange=self._exchange, reason=str(error))
        except redis.RedisError as trouble:
            log.warning("not_given_up", exchange=self._exchange, error=str(trouble))

    async def _advance(self, board: StatusBoard, state: InstanceState, message: str = "") -> None:
        await board.advance(state, message)
        self._on_state(state)


def _release(claim: Claim) -> None:
    try:
        claim.release()
    except redis.RedisError as error:
        # It expires by itself; a successor on this machine takes it over at once.
        log.warning("claim_unreleased", error=str(error))


async def _tell_public_ip(board: StatusBoard) -> None:
    """Part: once, best effort (N7)."""
    address = await asyncio.to_thread(public_ip)
    if address is not None:
        board.facts(ip_address=address)


def _log_progress(stats: WarmupStats) -> None:
    log.debug("warmup", phase=stats.phase, percent=round(stats.percent, 1), current=stats.current)
