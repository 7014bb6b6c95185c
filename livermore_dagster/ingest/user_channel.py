"""Keeps the user channel of every account of this exchange open, and tells what comes as account events.

Whatever befalls an account (a variable that is not set, a key that is refused or revoked, a channel that
breaks) is its own trouble: told, tried again with growing delays, and never felt by the candles.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from redis import RedisError

from livermore_dagster.errors import BadSetting, ExchangeError
from livermore_dagster.exchanges.credentials import from_environment
from livermore_dagster.exchanges.factory import user_stream_for
from livermore_dagster.exchanges.user_stream import OnLimited, UserEvent, UserStream
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.stores.postgres.user_exchanges import AccountRow, read_accounts
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.account_events import AccountEvent, append_event

__all__ = ["UserChannels"]

log = structlog.get_logger(__name__)

_FIRST_DELAY_S: Final = 30.0
_LAST_DELAY_S: Final = 900.0
"""A key that was refused is tried again this seldom at the end: asking often may lock the account."""
_REDIS_DELAY_S: Final = 1.0
_WAIT_MS: Final = 4_000


@dataclass(frozen=True, slots=True)
class _Kept:
    account: AccountRow
    task: asyncio.Task[None]


class UserChannels:
    """`run` until cancelled. Follows the account events for accounts that are added and removed."""

    def __init__(self, ctx: ExchangeContext, board: StatusBoard, on_limited: OnLimited) -> None:
        self._ctx = ctx
        self._board = board
        self._on_limited = on_limited
        self._kept: dict[int, _Kept] = {}

    async def run(self) -> None:
        stream = keys.account_events(self._ctx.row.id)
        newest = cast("Any", await self._ctx.redis.xrevrange(stream, count=1))
        seen = newest[0][0] if newest else "0"
        try:
            await self._ctx.redis.delete(keys.account_channels(self._ctx.row.id))
            await self._follow(anew=set())
            while True:
                reply = cast("Any", await self._ctx.redis.xread({stream: seen}, block=_WAIT_MS))
                entries = reply[0][1] if reply else []
                changed = {int(e["account_id"]) for _, e in entries if e["kind"] in ("added", "removed")}
                seen = entries[-1][0] if entries else seen
                if changed:
                    await self._follow(anew=changed)
        finally:
            await self._end(list(self._kept))

    async def _follow(self, anew: set[int]) -> None:
        """Keeps what there is to keep; the accounts `anew` from the start, as their variables may be
        others."""
        async with self._ctx.pool.connection() as connection:
            accounts = await read_accounts(connection, exchange_id=self._ctx.row.id)
        wanted = {one.id: one for one in accounts if one.key_env is not None}
        await self._end([known for known in self._kept if known not in wanted or known in anew])
        for account_id, account in wanted.items():
            if account_id not in self._kept:
                task = asyncio.create_task(self._keep(account), name=f"account-{account.key}")
                self._kept[account_id] = _Kept(account, task)

    async def _end(self, ids: list[int]) -> None:
        ended = [self._kept.pop(account_id) for account_id in ids]
        for one in ended:
            one.task.cancel()
        if ended:
            await asyncio.wait({one.task for one in ended})

    # --- one account ------------------------------------------------------------------------------------
    async def _keep(self, account: AccountRow) -> None:
        delay = _FIRST_DELAY_S
        while True:
            try:
                stream = self._open(account)
                async with stream:
                    async for event in stream:
                        delay = _FIRST_DELAY_S
                        await self._tell(account, event)
                        await self._show(account, "open", "")
                return
            except BadSetting as error:
                # A variable that is missing in this process stays so: a new start, or adding it anew.
                await self._trouble(account, error.message)
                return
            except ExchangeError as error:
                await self._trouble(account, error.message)
            except RedisError as error:
                # What was not told is told by the resumption of the next channel.
                log.warning("account_events_untold", account=account.key, error=type(error).__name__)
                await self._ctx.clock.sleep(_REDIS_DELAY_S)
                continue
            except Exception as error:  # told, and tried again: else it would end unheard
                log.error("account_channel_failed", account=account.key, exc_info=error)
                # Not its words: nobody knows what they hold.
                words = (
                    f"its channel failed ({type(error).__name__}, see the instance's log) and is opened again"
                )
                await self._trouble(account, words)
            await self._ctx.clock.sleep(delay)
            delay = min(_LAST_DELAY_S, delay * 2)

    def _open(self, account: AccountRow) -> UserStream:
        credentials = from_environment(account.key_env or "", account.secret_env or "")
        ctx = self._ctx
        return user_stream_for(ctx.row, credentials, ctx.redis, ctx.clock, ctx.gate, self._on_limited)

    async def _tell(self, account: AccountRow, event: UserEvent) -> None:
        told = AccountEvent(
            self._ctx.row.id,
            account.id,
            event.kind.value,
            event.at_ms,
            event.symbol or "",
            event.order_id or "",
            event.fill_id or "",
        )
        await append_event(self._ctx.redis, told)

    async def _trouble(self, account: AccountRow, text: str) -> None:
        self._board.trouble(IncidentName.ACCOUNT_REFUSED, f"Account {account.key}: {text}")
        try:
            await self._show(account, "refused", text)
        except RedisError as error:
            log.warning("account_state_untold", account=account.key, error=type(error).__name__)

    async def _show(self, account: AccountRow, state: str, reason: str) -> None:
        """For `livermore account list`."""
        text = json.dumps({"state": state, "reason": reason, "at_ms": self._ctx.clock.now_ms()})
        await cast("Any", self._ctx.redis.hset(keys.account_channels(self._ctx.row.id), account.key, text))
