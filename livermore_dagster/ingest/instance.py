"""One exchange's instance, from claim to clean end, inside one event loop (N2–N4, C3).

With its claim it is registered, idle, and hears commands. What is wanted of it (`Desired`, in Redis) makes it
run, pause or rest, as often as it changes; it ends when it shall be stopped, or its claim is another's.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import psycopg
import redis
import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.commands.ears import grow, shed
from livermore_dagster.control.public_ip import public_ip
from livermore_dagster.control.states import InstanceState
from livermore_dagster.errors import ClaimConflict, ClaimLost, UsageError
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.commands import InstanceCommands
from livermore_dagster.ingest.context import ExchangeContext, Servers, open_context
from livermore_dagster.ingest.control_channel import ControlChannel
from livermore_dagster.ingest.ends import Ends
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.session import Session
from livermore_dagster.ingest.starter import Starter, read_starter
from livermore_dagster.ingest.supervise import TRANSIENT, Supervisor
from livermore_dagster.logs import log_at
from livermore_dagster.stores.postgres.connect import conninfo
from livermore_dagster.stores.postgres.provenance import claim_provenance as claim_database
from livermore_dagster.stores.redis.client import connect, refuse_cluster
from livermore_dagster.stores.redis.desired import Desired, give_up_desired, read_desired
from livermore_dagster.stores.redis.provenance import claim_provenance as claim_redis

__all__ = ["Instance"]

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 50.0
"""How long an overdue holder's claim is waited out; one that beats is a conflict at once."""
_LOOK_S: Final = 0.5
_ANSWERED_S: Final = 0.5
_CLAIM_SOCKET_S: Final = 5.0


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
        self._lost: asyncio.Future[ClaimLost] = asyncio.get_running_loop().create_future()
        self._ends = Ends(self._lost)
        self._stint: Ends | None = None
        self._wake = asyncio.Event()
        self._claiming: Claim | None = None
        self._claimed: Claim | None = None
        self.session: Session | None = None
        """None while it is idle."""
        self.begins = asyncio.Event()

    def request_stop(self, reason: str) -> None:
        """The process shall end."""
        self._ends.stop(reason)
        if self._claiming is not None:
            self._claiming.give_up()
        if self._stint is not None:
            self._stint.stop(reason)

    def look(self) -> None:
        """Something else may be wanted now."""
        self._wake.set()

    async def hand_over(self) -> str:
        """The process ends in a moment, and its claim passes to the standby that waits longest; its place.

        Raises NobodyStandsBy.
        """
        if self._claimed is None:
            raise ClaimLost(f"{self._exchange}: no claim is held.")
        heir = await asyncio.to_thread(self._claimed.appoint_successor)
        # Whoever asked for it is answered before.
        asyncio.get_running_loop().call_later(_ANSWERED_S, self.request_stop, f"handed over to {heir.place}")
        return heir.place

    def rest(self, reason: str) -> None:
        """Back to idle; what is wanted says so too by now."""
        if self._stint is not None:
            self._stint.stop(reason)

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            ctx = await stack.enter_async_context(
                open_context(
                    self._exchange, self._servers, clock=self._clock, live_clock=self._live_clock, closes=True
                )
            )
            await self._check_stores(ctx)
            ears = await grow()
            stack.push_async_callback(shed, ears)
            desired = await read_desired(ctx.redis, ctx.row.id)
            client = redis.Redis.from_url(
                self._servers.redis_url,
                decode_responses=True,
                socket_timeout=_CLAIM_SOCKET_S,
                socket_connect_timeout=_CLAIM_SOCKET_S,
            )
            stack.callback(client.close)
            claim = self._claim(client, ctx, await read_starter(ctx, desired))
            if not await self._acquired(claim):
                return
            try:
                claim.start_heartbeat()
                await self._attend(ctx, claim, ears)
            finally:
                await asyncio.to_thread(_release, claim)

    async def _acquired(self, claim: Claim) -> bool:
        """False where a stop came first. Its thread gives up with who waits for it."""
        if self._ends.stopped.is_set():
            return False
        self._claiming = claim
        try:
            await asyncio.to_thread(claim.acquire, PATIENCE_S)
        except (ClaimConflict, ClaimLost):
            if self._ends.stopped.is_set():
                return False
            raise
        except asyncio.CancelledError:
            claim.give_up()
            raise
        finally:
            self._claiming = None
        return True

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

    def _claim(self, client: redis.Redis, ctx: ExchangeContext, starter: Starter) -> Claim:
        loop = asyncio.get_running_loop()

        def tell_lost(lost: ClaimLost) -> None:
            loop.call_soon_threadsafe(self._note_lost, lost)

        return Claim(
            client,
            ctx.row.id,
            ctx.row.name,
            run_id=self._run_id,
            token=self._token,
            admin=(starter.email, starter.display_name),
            clock=self._clock,
            on_lost=tell_lost,
        )

    def _note_lost(self, lost: ClaimLost) -> None:
        if not self._lost.done():
            self._lost.set_result(lost)

    def _live_clock(self) -> int | None:
        return self.session.now() if self.session is not None else None

    # --- living -------------------------------------------------------------------------------------------
    async def _attend(self, ctx: ExchangeContext, claim: Claim, ears: Process) -> None:
        """From the claim to the end: the control channel is open whatever the state."""
        self._claimed = claim
        board = StatusBoard(claim, ctx.redis, ctx.row.id)
        parts = Supervisor(self._clock, lambda part, text: _tell_failure(board, ctx.row.name, part, text))
        self._ends.watch(parts.fatal)
        channel = ControlChannel(
            ctx, self._servers, claim.status, InstanceCommands(ctx, board, self).handlers(), ears
        )
        parts.start("board", board.run)
        parts.start("commands", channel.run)
        if self._provenance == "live":
            parts.start("public_ip", lambda: _tell_public_ip(board))
        await channel.listen()
        self._on_claimed()
        try:
            await self._obey(ctx, board, parts)
        finally:
            await parts.stop()

    async def _obey(self, ctx: ExchangeContext, board: StatusBoard, parts: Supervisor) -> None:
        """Idle, and running whenever that is wanted, until it shall be stopped."""
        while not self._ends.stopped.is_set():
            self._wake.clear()
            desired = await self._wanted(ctx)
            if desired is not None and desired.state == "running":
                await self._run_session(ctx, board, parts, desired)
            else:
                await self._ends.unless(self._something())

    async def _wanted(self, ctx: ExchangeContext) -> Desired | None:
        """None while it is not known: without Redis the claim runs out as well, which ends this."""
        try:
            desired = await read_desired(ctx.redis, ctx.row.id)
        except redis.RedisError as error:
            log.warning("desired_unread", exchange=self._exchange, error=type(error).__name__)
            return None
        if desired is not None and desired.state == "stopped":
            self._ends.stop("stop was asked for")
        return desired

    async def _something(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _run_session(
        self, ctx: ExchangeContext, board: StatusBoard, parts: Supervisor, desired: Desired
    ) -> None:
        stint = self._stint = Ends(self._lost)
        stint.watch(parts.fatal)
        if self._ends.stopped.is_set():
            return

        async def advance(state: InstanceState, message: str) -> None:
            await self._advance(board, state, message)

        session = self.session = Session(
            ctx, board, desired, self._patience, stint, advance, live=self._provenance == "live"
        )
        self.begins.set()
        self.begins = asyncio.Event()
        try:
            starter = await read_starter(ctx, desired)
            log_at(starter.log_level)
            board.facts(admin_email=starter.email, admin_display_name=starter.display_name)
            await session.run()
            await self._wanted(ctx)
            if not self._ends.stopped.is_set():
                await self._advance(board, InstanceState.IDLE, stint.reason)
        except BaseException as error:
            await self._fail(ctx, board, desired, error)
            raise
        finally:
            self.session = self._stint = None

    # --- ending -------------------------------------------------------------------------------------------
    async def _fail(
        self, ctx: ExchangeContext, board: StatusBoard, desired: Desired, error: BaseException
    ) -> None:
        """N4: told, then out of the way. A lost claim is another's: nothing more is written under it."""
        if isinstance(error, ClaimLost):
            return
        if isinstance(error, UsageError):
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


async def _tell_failure(board: StatusBoard, exchange: str, part: str, text: str) -> None:
    board.trouble(IncidentName.PART_FAILED, f"{exchange}: {part} failed and is restarted: {text}")


async def _tell_public_ip(board: StatusBoard) -> None:
    """Part: once, best effort (N7)."""
    address = await asyncio.to_thread(public_ip)
    if address is not None:
        board.facts(ip_address=address)
