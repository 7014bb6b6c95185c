"""How far an exchange's candles have been compared with its own: what one audit could not, the next does."""

from __future__ import annotations

from typing import Any, cast

import redis.asyncio

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys

__all__ = ["begin_audited", "note_audited"]


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
