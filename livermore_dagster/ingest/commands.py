"""What each command does to an instance (C2); docs/control.md says what holds when two meet.

Those that steer write what is wanted first, so that it survives the process, and then make it so. None waits
for what takes minutes: a start answers once it starts, a resume once its sockets are open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol, cast

import psycopg
import structlog
from redis.exceptions import RedisError

from livermore_dagster.control.commands.executor import Handler, Progress
from livermore_dagster.control.commands.message import (
    Command,
    CommandType,
    StartPayload,
    SwitchMode,
)
from livermore_dagster.errors import BadSetting, ExchangeError, PlatformError, SessionOver
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.cache_commands import clear_cache, force_backfill
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.session import Change, Session
from livermore_dagster.ingest.symbol_commands import add_symbols, remove_symbol, take_back
from livermore_dagster.ingest.symbols import resolve_monitored
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice, change_desired, read_desired

__all__ = ["InstanceCommands"]

log = structlog.get_logger(__name__)

_BEGUN_S: Final = 5.0
_STOPPED_S: Final = 10.0
_REPAIRED_S: Final = 1.0
_WARM_S: Final = 10.0
"""A command about symbols answers after this at the latest: their warm-up goes on behind it."""
_LOOK_S: Final = 0.02
_SERVERS: Final = (RedisError, psycopg.Error, OSError)

Facts = Mapping[str, Any]


class Host(Protocol):
    """The instance, as commands need it."""

    session: Session | None
    begins: asyncio.Event
    """Set, and replaced, when the next session begins."""

    def look(self) -> None: ...
    def rest(self, reason: str) -> None: ...
    async def hand_over(self) -> str: ...


class InstanceCommands:
    """One of an instance, in all its states."""

    def __init__(self, ctx: ExchangeContext, board: StatusBoard, host: Host) -> None:
        self._ctx = ctx
        self._board = board
        self._host = host
        self._running: list[str] = []

    def handlers(self) -> Mapping[CommandType, Handler]:
        known: dict[CommandType, Handler] = {
            CommandType.START: self._start,
            CommandType.STOP: self._stop,
            CommandType.PAUSE: self._pause,
            CommandType.RESUME: self._resume,
            CommandType.HAND_OVER: self._hand_over,
            CommandType.RELOAD_SETTINGS: self._reload_settings,
            CommandType.SWITCH_MODE: self._switch_mode,
            CommandType.ADD_SYMBOL: self._add_symbols,
            CommandType.BULK_ADD_SYMBOLS: self._add_symbols,
            CommandType.REMOVE_SYMBOL: self._remove_symbol,
            CommandType.FORCE_BACKFILL: self._force_backfill,
            CommandType.CLEAR_CACHE: self._clear_cache,
        }
        return {kind: self._shown(handler) for kind, handler in known.items()}

    def _shown(self, handler: Handler) -> Handler:
        """While it runs the status says so."""

        async def run(command: Command, progress: Progress) -> Facts:
            words = f"{command.type.value} by {command.sub}"
            self._running.append(words)
            self._board.facts(command=", ".join(self._running))
            try:
                return await handler(command, progress)
            finally:
                self._running.remove(words)
                self._board.facts(command=", ".join(self._running))

        return run

    @property
    def _name(self) -> str:
        return self._ctx.row.name

    def _running_session(self, verb: str) -> Session:
        session = self._host.session
        if session is None:
            raise BadSetting(
                f"{self._name} is idle: there is nothing to {verb}.", f"livermore start {self._name}"
            )
        return session

    async def _wish(self, change: Any) -> Desired:
        return await change_desired(self._ctx.redis, self._ctx.row.id, change)

    async def _wanted(self) -> Desired:
        return await read_desired(self._ctx.redis, self._ctx.row.id) or Desired("idle")

    # --- steering -----------------------------------------------------------------------------------------
    async def _start(self, command: Command, progress: Progress) -> Facts:
        payload = cast("StartPayload", command.typed_payload())
        if payload.top is not None and payload.symbols:
            raise BadSetting("Both top and symbols are given.", "Give one of them, or neither.")
        choice = SymbolChoice(payload.top, payload.symbols)
        said = choice != SymbolChoice()
        if said:
            await self._check(Desired("running", choice, command.sub), idle=self._host.session is None)
        # Only now: while the exchange was asked, a start tried anew may have begun.
        known = await self._wanted()
        session, begins = self._host.session, self._host.begins
        wanted = await self._wish(
            lambda old: replace(
                old, state="running", symbols=choice if said else old.symbols, user=command.sub, reason="",
                paused=False,
            )
        )  # fmt: skip
        if session is None:
            self._host.look()
            await self._begun(begins)
            return {"state": "starting"}
        resumed = session.paused and await session.during(session.resume())
        if wanted.selects != known.selects:
            return {**_facts(await session.during(session.reload(wanted))), **self._state()}
        if resumed:
            return {**self._state(), "note": f"{self._name} was paused, and is resumed."}
        return {**self._state(), "note": f"{self._name} was started already."}

    async def _check(self, desired: Desired, *, idle: bool) -> None:
        """Raises UnknownSymbol. An idle exchange that cannot be asked is wanted all the same: each try of its
        start asks again."""
        try:
            await resolve_monitored(self._ctx, desired)
        except ExchangeError as error:
            if not idle:
                raise
            log.warning("choice_unchecked", exchange=self._name, error=error.message)

    async def _begun(self, begins: asyncio.Event) -> None:
        """Not asked of the session: one that fails at once has come and gone between two looks."""
        try:
            async with asyncio.timeout(_BEGUN_S):
                await begins.wait()
        except TimeoutError:
            raise PlatformError(f"{self._name} has not begun to start within {_BEGUN_S:.0f} s.") from None

    async def _stop(self, command: Command, progress: Progress) -> Facts:
        was = self._host.session
        await self._wish(
            lambda old: (
                replace(old, state="idle", user=command.sub, reason="", paused=False)
                if old.state != "stopped"
                else old
            )
        )
        if was is None:
            return {"state": "idle", "note": f"{self._name} was idle already."}
        self._host.rest(f"stopped by {command.sub}")
        await self._until(lambda: self._host.session is not was, _STOPPED_S, "stopped")
        return {"state": "idle"}

    async def _pause(self, command: Command, progress: Progress) -> Facts:
        session = self._running_session("pause")
        already = session.paused
        await self._wish(lambda old: replace(old, paused=True) if old.state == "running" else old)
        await session.during(session.pause())
        note = {"note": f"{self._name} was paused already."} if already else {}
        return {**self._state(), "paused": True, **note}

    async def _resume(self, command: Command, progress: Progress) -> Facts:
        session = self._running_session("resume")
        already = not session.paused
        await self._wish(lambda old: replace(old, paused=False))
        if already:
            return {**self._state(), "note": f"{self._name} was not paused."}
        await session.during(session.resume())
        repaired = await session.during(session.repaired(_REPAIRED_S))
        words = "The sockets are open, and what was missed is being repaired: livermore status shows when."
        return {**self._state(), "repaired": repaired, **({} if repaired else {"note": words})}

    async def _hand_over(self, command: Command, progress: Progress) -> Facts:
        return {"to": await self._host.hand_over()}

    # --- what is monitored --------------------------------------------------------------------------------
    async def _reload_settings(self, command: Command, progress: Progress) -> Facts:
        session = self._host.session
        if session is None:
            return {"state": "idle", "note": "Settings are read at the start."}
        return _facts(await session.during(session.reload(await self._wanted())))

    async def _switch_mode(self, command: Command, progress: Progress) -> Facts:
        mode = cast("SwitchMode", command.typed_payload()).mode
        was = (await self._wanted()).mode
        wanted = await self._wish(lambda old: replace(old, mode=mode))
        session = self._host.session
        note = {"note": f"{self._name} was in this mode already."} if was == mode else {}
        if session is None:
            return {"mode": mode, "state": "idle", **note}
        return {"mode": mode, **_facts(await session.during(session.reload(wanted))), **note}

    async def _add_symbols(self, command: Command, progress: Progress) -> Facts:
        before = self._selected()
        added = await add_symbols(self._ctx, command)
        try:
            return {**added, **await self._follow(progress, before)}
        except (ExchangeError, SessionOver, *_SERVERS):
            # The sender is told that it failed: then nothing of it shall come later.
            try:
                await take_back(self._ctx, command, added)
            except _SERVERS as error:
                log.warning("not_taken_back", exchange=self._name, error=type(error).__name__)
            raise

    async def _remove_symbol(self, command: Command, progress: Progress) -> Facts:
        before = self._selected()
        removed = await remove_symbol(self._ctx, command)
        return {**removed, **await self._follow(progress, before)}

    def _selected(self) -> tuple[str, ...] | None:
        """None where nothing is monitored, or not yet."""
        return (self._host.session and self._host.session.symbols) or None

    async def _follow(self, progress: Progress, before: tuple[str, ...] | None) -> Facts:
        """Makes true what the settings say now; waits a little for what is new to be warm.

        The news of changed settings, which comes to this instance too, may be quicker: told is the change
        from `before`.
        """
        session = self._host.session
        if session is None:
            return {"state": "idle", "note": "It holds from the next start on."}
        change = await session.during(session.reload(await self._wanted()))
        if before is not None:
            now = session.symbols
            added = tuple(one for one in now if one not in set(before))
            change = replace(change, added=added, removed=tuple(one for one in before if one not in set(now)))
        if not change.added or change.at_resume:
            return _facts(change)
        await progress({"streaming": len(change.added)})
        warm = await session.during(session.warmed(_WARM_S))
        return {**_facts(change), "warm": warm}

    # --- candles ------------------------------------------------------------------------------------------
    async def _force_backfill(self, command: Command, progress: Progress) -> Facts:
        return await force_backfill(self._ctx, command, progress)

    async def _clear_cache(self, command: Command, progress: Progress) -> Facts:
        session = self._host.session
        work = clear_cache(self._ctx, command, progress, running=session is not None)
        return await (work if session is None else session.during(work))

    # --- telling ------------------------------------------------------------------------------------------
    def _state(self) -> Facts:
        return {"state": self._board.state.value}

    async def _until(self, holds: Any, seconds: float, what: str) -> None:
        deadline = self._ctx.clock.monotonic() + seconds
        while not holds():
            if self._ctx.clock.monotonic() >= deadline:
                raise PlatformError(f"{self._name} has not {what} within {seconds:.0f} s.")
            await asyncio.sleep(_LOOK_S)


_NAMED: Final = 20


def _facts(change: Change) -> Facts:
    """A change in words for its sender: few symbols by name, many by number."""
    facts: dict[str, Any] = {"symbols": change.symbols}
    for name, symbols in (("added", change.added), ("removed", change.removed)):
        if symbols:
            facts[f"{name}_symbols"] = list(symbols) if len(symbols) <= _NAMED else len(symbols)
    if change.keys:
        facts["keys_cleaned"] = change.keys
    if change.at_resume:
        facts["note"] = "It is paused: the sockets follow when it is resumed."
    return facts
