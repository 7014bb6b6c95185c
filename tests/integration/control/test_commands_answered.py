"""A command that was taken is answered, whatever was lost between: replies, progress, the executor itself."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.commands import receiver
from livermore_dagster.control.commands.executor import CommandExecutor
from livermore_dagster.control.commands.message import Command, CommandType, Lane, parse_command
from livermore_dagster.control.commands.queue import CommandQueue, server_ms
from livermore_dagster.control.commands.sender import ACK_S
from livermore_dagster.stores.postgres.commands import read_commands
from livermore_dagster.stores.postgres.connect import open_pool
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from tests.eventually import eventually

from .commanded import EXCHANGE_ID, Ran, instance, ran, wire

Said = tuple[str, str, str]
"""To whom, correlation id and kind."""


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
    await client.hset(keys.command_bodies(EXCHANGE_ID), command.name, command.encode())
    await client.zadd(keys.command_queue(EXCHANGE_ID, command.lane.value), {command.name: 1.0})
    return command


async def outcome(client: redis.asyncio.Redis, name: str) -> str:
    kept = await client.get(keys.command_reply(name, "root"))
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
            await eventually(lambda: client.hexists(keys.command_running(EXCHANGE_ID), "timeless/root"))
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
    await client.hset(keys.command_running(EXCHANGE_ID), "orphan/root", "a claim that is no more")
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


@asynccontextmanager
async def hearing(
    client: redis.asyncio.Redis, *subs: str
) -> AsyncIterator[Callable[[], Awaitable[list[Said]]]]:
    """Gives what was said to these users since it was asked last."""
    async with client.pubsub(ignore_subscribe_messages=True) as channel:
        for sub in subs:
            await channel.subscribe(keys.channel_responses(sub))
            await channel.get_message(timeout=60)

        async def said() -> list[Said]:
            found = []
            while (message := await channel.get_message(timeout=0.05)) is not None:
                sub = message["channel"].removeprefix(keys.channel_responses(""))
                reply = json.loads(message["data"])
                found.append((sub, reply["correlationId"], reply["kind"]))
            return found

        yield said


async def sent(client: redis.asyncio.Redis, text: str, sub: str = "root") -> None:
    await client.publish(keys.channel_commands(sub), text)


async def test_what_comes_again_leaves_what_runs_as_it_is(redis_url, database, client, gate) -> None:
    gate.clear()
    async with instance(redis_url, database, gate), hearing(client, "root") as said:
        kinds: list[str] = []
        while "ack" not in kinds:
            # 29 s old when it is taken, too old for another to be taken when it comes again. One that the
            # machine brought too late is followed by another.
            now, name = await server_ms(client), str(uuid.uuid4())
            text = wire(now - 29_000, correlationId=name, type="force-backfill")
            await sent(client, text)
            kinds.clear()
            while not kinds:
                kinds += [kind for _, told, kind in await said() if told == name]
        await eventually(lambda: ran(client))

        async def is_old() -> bool:
            return await server_ms(client) > now + 1_100

        await eventually(is_old)

        async def begun() -> bool:
            kinds.extend(kind for _, told, kind in await said() if told == name)
            return "progress" in kinds

        await eventually(begun)  # nothing more is said of it until the gate opens
        await sent(client, text)
        heard: list[Said] = []

        async def answered() -> list[Said]:
            heard.extend(await said())
            return heard

        await eventually(answered)
        assert heard == [("root", name, "ack")]
        assert await outcome(client, name) == ""
        # The same id in other words is the same command, and what is no command takes nobody's answer.
        await sent(client, wire(now, correlationId=name, exchange="nasdaq"))
        await sent(client, wire(now, correlationId=name, type="explode"))
        heard.clear()
        await eventually(answered)
        gate.set()
        await eventually(lambda: finished(database, name, "root"))
        assert await outcome(client, name) == "done"
    assert len(await ran(client)) == 1


async def finished(database: str, correlation_id: str, sub: str) -> bool:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        found = await read_commands(connection, sub=sub)
    ends = [one.outcome for one in found if one.correlation_id == correlation_id and one.finished_ms]
    assert ends in ([], ["done"])
    return bool(ends)


async def test_two_users_may_use_one_id(redis_url, database, client, gate) -> None:
    gate.clear()
    async with instance(redis_url, database, gate):
        now = await server_ms(client)
        await sent(client, wire(now, correlationId="one", type="force-backfill"), "root")
        await sent(client, wire(now, correlationId="one", type="pause"), "ana")
        await eventually(lambda: finished(database, "one", "ana"))
        gate.set()
        await eventually(lambda: finished(database, "one", "root"))
        assert {line.split()[1] for line in await ran(client)} == {"force-backfill", "pause"}
        for sub, did in (("root", "force-backfill"), ("ana", "pause")):
            kept = json.loads(await client.get(keys.command_reply("one", sub)))
            assert kept["result"] == {"did": did}


async def test_each_who_sends_the_same_malformed_text_is_answered(redis_url, database, client, gate) -> None:
    async with instance(redis_url, database, gate), hearing(client, "root", "ana") as said:
        for sub in ("root", "ana", "root"):
            await sent(client, "no json", sub)
        heard: list[Said] = []

        async def answered() -> bool:
            heard.extend(await said())
            return len(heard) >= 2

        await eventually(answered)
    # A third would be another instance's that heard the same.
    assert heard == [("root", "", "error"), ("ana", "", "error")]


async def test_the_first_command_after_a_restart_of_the_database_is_taken(
    redis_url, database, client, gate
) -> None:
    async with instance(redis_url, database, gate), hearing(client, "root") as said:
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await sent(client, wire(await server_ms(client), correlationId="first"))
        heard: list[Said] = []

        async def answered() -> list[Said]:
            heard.extend(await said())
            return heard

        await eventually(answered)
        assert heard[0] == ("root", "first", "ack")


async def test_a_database_that_does_not_answer_holds_no_sender_up(redis_url, database, client, gate) -> None:
    async with instance(redis_url, database, gate), hearing(client, "root") as said:
        async with await psycopg.AsyncConnection.connect(database) as blocker:
            await blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            await sent(client, wire(await server_ms(client), correlationId="held"))
            heard: list[Said] = []

            async def answered() -> list[Said]:
                heard.extend(await said())
                return heard

            await eventually(answered)
        assert heard == [("root", "held", "error")]
        assert receiver._LOOK_UP_MS < 1_000 * ACK_S, "the sender has given up before"


async def test_a_quiet_channel_is_tried(redis_url, database, client, gate, monkeypatch) -> None:
    monkeypatch.setattr(receiver, "_QUIET_S", 0.1)
    async with instance(redis_url, database, gate), hearing(client, "root") as said:

        async def pinged() -> bool:
            channels = await client.client_list(_type="pubsub")
            return any(one["psub"] == "1" and one["cmd"] == "ping" for one in channels)

        await eventually(pinged)
        await sent(client, wire(await server_ms(client), correlationId="after"))
        await eventually(said)
