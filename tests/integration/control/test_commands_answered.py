"""A command that was taken is answered, whatever was lost between: replies, progress, the executor itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.commands.executor import CommandExecutor
from livermore_dagster.control.commands.message import Command, CommandType, Lane, parse_command
from livermore_dagster.control.commands.queue import CommandQueue, server_ms
from livermore_dagster.stores.postgres.connect import open_pool
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from tests.eventually import eventually

from .commanded import EXCHANGE_ID, Ran, ran, wire


@asynccontextmanager
async def executing(redis_url: str, database: str, gate: asyncio.Event, claim: Claim) -> AsyncIterator[None]:
    """An executor under `claim`, and nobody who hears."""
    own, pool = connect_async(redis_url), await open_pool(database, None)
    executor = CommandExecutor(
        own, pool, EXCHANGE_ID, token=claim.status.token, instance_id="i",
        handlers=dict.fromkeys(CommandType, Ran(own, gate)), clock=SystemClock(),
    )  # fmt: skip
    work = asyncio.create_task(executor.run())
    try:
        yield
    finally:
        work.cancel()
        await asyncio.wait({work})
        await own.aclose()
        await pool.close()


@asynccontextmanager
async def forbidden(client: redis.asyncio.Redis, word: str) -> AsyncIterator[None]:
    """The server answers `word` with an error, to everybody."""
    await client.acl_log_reset()
    await client.acl_setuser("default", enabled=True, nopass=True, commands=[f"-{word}"])
    try:
        yield
    finally:
        await client.acl_setuser("default", enabled=True, nopass=True, commands=[f"+{word}"])


async def queued(client: redis.asyncio.Redis, name: str, kind: str) -> Command:
    """A command that was taken and waits for its turn."""
    sent_ms = await server_ms(client)
    command = parse_command(wire(sent_ms, correlationId=name, type=kind), "root", sent_ms)
    await client.hset(keys.command_bodies(EXCHANGE_ID), name, command.encode())
    await client.zadd(keys.command_queue(EXCHANGE_ID, command.lane.value), {name: 1.0})
    return command


async def outcome(client: redis.asyncio.Redis, name: str) -> str:
    kept = await client.get(keys.command_reply(name))
    return json.loads(kept)["outcome"] if kept else ""


async def test_a_command_is_answered_though_redis_failed_when_it_was_taken(
    redis_url, database, client, gate, claim
) -> None:
    await queued(client, "lost", "resume")
    # Taken, and the reply lost with its connection: nobody here knows of it.
    assert await CommandQueue(client, EXCHANGE_ID, claim.status.token).take(Lane.STEER) is not None
    await queued(client, "timeless", "pause")
    async with executing(redis_url, database, gate, claim):
        async with forbidden(client, "time"):
            await eventually(client.acl_log)
            await eventually(lambda: client.hexists(keys.command_running(EXCHANGE_ID), "timeless"))
        await eventually(lambda: outcome(client, "timeless"))
        await eventually(lambda: outcome(client, "lost"))
    assert await outcome(client, "timeless") == "done"
    assert await outcome(client, "lost") == "failed"
    assert [line.split()[0] for line in await ran(client)] == ["timeless"]
    assert await client.exists(keys.command_bodies(EXCHANGE_ID), keys.command_running(EXCHANGE_ID)) == 0


async def test_a_command_in_flight_when_the_channel_restarts_is_answered(
    redis_url, database, client, gate, claim
) -> None:
    gate.clear()
    await queued(client, "broken-off", "force-backfill")
    async with executing(redis_url, database, gate, claim):
        await eventually(lambda: ran(client))
    async with executing(redis_url, database, gate, claim):
        await eventually(lambda: outcome(client, "broken-off"))
    assert await outcome(client, "broken-off") == "failed"
    assert len(await ran(client)) == 1


async def test_what_is_to_be_answered_is_answered_by_the_next_who_finds_it(
    redis_url, database, client, gate, claim
) -> None:
    await queued(client, "orphan", "pause")
    await CommandQueue(client, EXCHANGE_ID, claim.status.token).take(Lane.STEER)
    await client.hset(keys.command_running(EXCHANGE_ID), "orphan", "a claim that is no more")
    # Found, and killed before it could answer.
    assert len(await CommandQueue(client, EXCHANGE_ID, claim.status.token).orphans(())) == 1
    async with executing(redis_url, database, gate, claim):
        await eventually(lambda: outcome(client, "orphan"))
    assert await outcome(client, "orphan") == "failed"


async def test_a_word_about_progress_that_is_lost_fails_nothing(
    redis_url, database, client, gate, claim
) -> None:
    gate.clear()
    await queued(client, "long", "force-backfill")
    async with forbidden(client, "publish"), executing(redis_url, database, gate, claim):
        await eventually(client.acl_log)
        await client.acl_setuser("default", enabled=True, nopass=True, commands=["+publish"])
        gate.set()
        await eventually(lambda: outcome(client, "long"))
    assert await outcome(client, "long") == "done"
