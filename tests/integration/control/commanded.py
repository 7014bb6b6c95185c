"""An instance that does nothing but take commands: real claim, receiver and executor; to be killed by tests.

`python -m tests.integration.control.commanded REDIS_URL DATABASE_URL` says 'ready' and runs until ended.
Every command it runs is appended to the Redis list `ran` as 'correlationId type priority'.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import redis
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.commands.executor import CommandExecutor, Progress
from livermore_dagster.control.commands.message import Command, CommandType
from livermore_dagster.control.commands.receiver import CommandReceiver
from livermore_dagster.errors import ExchangeUnavailable, UnknownSymbol
from livermore_dagster.stores.postgres.connect import conninfo, open_pool
from livermore_dagster.stores.redis.client import connect, connect_async

EXCHANGE_ID, EXCHANGE = 2, "binance"
RAN = "ran"
KNOWN = ("binance", "binance_us", "coinbase")


class Ran:
    """Handlers that note what runs; `gate`: while it is closed, a backfill does not end."""

    def __init__(self, client: redis.asyncio.Redis, gate: asyncio.Event) -> None:
        self._redis = client
        self._gate = gate

    async def __call__(self, command: Command, progress: Progress) -> Mapping[str, Any]:
        await self._redis.rpush(RAN, f"{command.correlation_id} {command.type} {command.priority}")
        if command.type is CommandType.FORCE_BACKFILL:
            await progress({"percent": 50})
            await self._gate.wait()
        if command.type is CommandType.ADD_SYMBOL and command.payload["symbol"] == "NOPE":
            raise UnknownSymbol("NOPE", EXCHANGE, ["BTCUSDT"])
        if command.type is CommandType.SWITCH_MODE:
            raise ExchangeUnavailable("The exchange is away.")
        if command.type is CommandType.CLEAR_CACHE:
            raise ZeroDivisionError("a defect of the handler's")
        return {"did": command.type.value}


async def ran(client: redis.asyncio.Redis) -> list[str]:
    return await client.lrange(RAN, 0, -1)


def wire(now_ms: int, **changed) -> str:
    return json.dumps(
        {
            "correlationId": str(uuid.uuid4()),
            "type": "pause",
            "exchange": EXCHANGE,
            "timestamp": now_ms,
            "payload": {},
            **changed,
        }
    )


@asynccontextmanager
async def instance(redis_url: str, database_url: str, gate: asyncio.Event) -> AsyncIterator[Claim]:
    loop = asyncio.get_running_loop()
    client = connect_async(redis_url)
    pool = await open_pool(database_url, None)
    claim = Claim(connect(redis_url), EXCHANGE_ID, EXCHANGE)
    claim.acquire(60.0)
    claim.start_heartbeat()
    facts = claim.status
    ran = Ran(client, gate)
    executor = CommandExecutor(
        client, pool, EXCHANGE_ID, token=facts.token, instance_id=facts.instance_id,
        handlers=dict.fromkeys(CommandType, ran), clock=SystemClock(),
    )  # fmt: skip
    receiver = CommandReceiver(
        lambda: connect(redis_url, encoding_errors="replace", waits_for_news=True),
        conninfo(database_url, None), EXCHANGE_ID, EXCHANGE, token=facts.token,
        instance_id=facts.instance_id, known_exchanges=KNOWN,
        on_heard=lambda records: loop.call_soon_threadsafe(executor.heard, records),
        is_full=lambda: executor.full,
    )  # fmt: skip
    work = asyncio.create_task(executor.run())
    await asyncio.to_thread(receiver.start, 60.0)
    try:
        yield claim
    finally:
        await asyncio.to_thread(receiver.stop)
        work.cancel()
        await asyncio.wait({work})
        claim.release()
        await client.aclose()
        await pool.close()


async def _until_killed(redis_url: str, database_url: str) -> None:
    gate = asyncio.Event()
    gate.set()
    async with instance(redis_url, database_url, gate):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_until_killed(*sys.argv[1:]))
