"""How far an exchange's candles have been compared with its own: what one audit could not, the next does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import redis
import redis.asyncio
import structlog
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys

__all__ = ["LEASE_S", "begin_audited", "note_audited", "note_due", "only_audit"]

log = structlog.get_logger(__name__)

LEASE_S = 15.0
"""Of the lock, which is renewed: who does not is dead. A long list takes minutes to compare."""
_RENEW_S = 5.0


@asynccontextmanager
async def only_audit(
    client: redis.asyncio.Redis, exchange_id: int, timeframe: Timeframe, patience_s: float = 0.0
) -> AsyncIterator[bool]:
    """Whether nobody else audits these candles, waited for `patience_s` at most; while it lasts, nobody
    begins to."""
    name = keys.auditing(exchange_id, timeframe.value)
    lock = client.lock(name, timeout=LEASE_S, sleep=0.5, blocking_timeout=patience_s)
    if not await lock.acquire():
        yield False
        return
    renewal = asyncio.create_task(_renew(lock, timeframe))
    try:
        yield True
    finally:
        renewal.cancel()
        with suppress(asyncio.CancelledError):
            await renewal
        try:
            await lock.release()
        except LockError:
            log.warning("audit_outlived_its_lock", timeframe=timeframe.value)


async def _renew(lock: Lock, timeframe: Timeframe) -> None:
    """Where it cannot be, the audit goes on: two that compare the same cost requests and nothing else."""
    while True:
        await asyncio.sleep(_RENEW_S)
        try:
            await lock.reacquire()
        except LockError:
            return  # told at the end
        except RedisError as error:
            log.warning("audit_lock_not_renewed", timeframe=timeframe.value, error=str(error))


def note_due(client: redis.Redis, exchange_id: int, timeframe: Timeframe, from_ms: int) -> None:
    """That an audit of what opens at `from_ms` (ms) and later is owed: whatever becomes of the run that shall
    do it, a later one does. Nothing where one is owed, or was completed, already."""
    client.hsetnx(keys.audited(exchange_id), timeframe.value, str(from_ms))


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
