"""How far an exchange's candles have been compared with its own: what one audit could not, the next does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import redis.asyncio
import structlog
from redis.exceptions import LockError

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys

__all__ = ["begin_audited", "note_audited", "only_audit"]

log = structlog.get_logger(__name__)

_LONGEST_S = 300.0
"""A boundary run's own limit: whoever held the lock longer is dead."""


@asynccontextmanager
async def only_audit(
    client: redis.asyncio.Redis, exchange_id: int, timeframe: Timeframe
) -> AsyncIterator[bool]:
    """Whether nobody else audits these candles just now; while it lasts, nobody begins to."""
    lock = client.lock(keys.auditing(exchange_id, timeframe.value), timeout=_LONGEST_S, blocking=False)
    mine = await lock.acquire()
    try:
        yield mine
    finally:
        if mine:
            try:
                await lock.release()
            except LockError:
                log.warning("audit_outlived_its_lock", timeframe=timeframe.value)


async def begin_audited(
    client: redis.asyncio.Redis, exchange_id: int, timeframe: Timeframe, from_ms: int
) -> int:
    """Open (ms) from which on candles are not compared yet; `from_ms` where nothing ever was, and so from now
    on: what begins here and fails is not forgotten."""
    name = keys.audited(exchange_id)
    await cast("Any", client.hsetnx(name, timeframe.value, str(from_ms)))
    return int(await cast("Any", client.hget(name, timeframe.value)))


async def note_audited(
    client: redis.asyncio.Redis, exchange_id: int, timeframe: Timeframe, until_ms: int
) -> None:
    """All that opens before `until_ms` has been compared. It never goes back: an older run may end later."""
    name = keys.audited(exchange_id)
    if int(await cast("Any", client.hget(name, timeframe.value)) or 0) < until_ms:
        await cast("Any", client.hset(name, timeframe.value, str(until_ms)))
