"""The control channel over real servers: acknowledged, run once, in order, answered, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace

import psycopg
import pytest
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.commands.executor import CommandExecutor
from livermore_dagster.control.commands.message import (
    CommandType,
    Priority,
    Reply,
)
from livermore_dagster.control.commands.queue import server_ms
from livermore_dagster.control.commands.receiver import CommandReceiver
from livermore_dagster.control.commands.sender import Answer, Verdict, send_command
from livermore_dagster.errors import BadSetting
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.stores.postgres.commands import read_commands
from livermore_dagster.stores.postgres.connect import open_pool
from livermore_dagster.stores.postgres.users import User, update_user
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from tests.eventually import eventually

from .commanded import EXCHANGE, instance, ran, wire

ROW = row_named(EXCHANGE)


async def send(client: redis.asyncio.Redis, kind: str, sub: str = "root", **options) -> Answer:
    payload = options.pop("payload", {})
    return await send_command(client, ROW, sub, CommandType(kind), payload, **options)


async def test_each_outcome_is_told_as_what_it_is(redis_url, database, client, gate) -> None:
    async with instance(redis_url, database, gate):
        done = await send(client, "pause")
        assert (done.verdict, done.reply.result) == (Verdict.DONE, {"did": "pause"})
        assert done.ack_ms is not None
        refused = await send(client, "add-symbol", payload={"symbol": "NOPE"})
        assert (refused.verdict, "BTCUSDT" in refused.words) == (Verdict.REFUSED, True)
        failed = await send(client, "switch-mode", payload={"mode": "position-monitor"})
        assert (failed.verdict, failed.words) == (Verdict.FAILED, "The exchange is away.")
        assert (await send(client, "pause", sub="eve")).words.startswith("User 'eve' is no admin")
        assert (await send(client, "pause", sub="ana")).verdict is Verdict.DONE
        assert (await send(client, "pause", sub="nobody")).words == "There is no user 'nobody'."
        told: list[Reply] = []
        await send(client, "force-backfill", on_reply=told.append)
        assert [reply.result for reply in told] == [{}, {"percent": 50}]
    with pytest.raises(BadSetting, match="mode"):
        await send(client, "switch-mode", payload={"mode": "sleep"})
    nobody = await send(client, "pause")
    assert (nobody.verdict, "No instance of binance" in nobody.words) == (Verdict.NOBODY, True)
    async with await psycopg.AsyncConnection.connect(database) as connection:
        history = {one.correlation_id: one for one in await read_commands(connection)}
    assert history[done.correlation_id].outcome == "done"
    assert history[done.correlation_id].duration_ms is not None
    assert history[refused.correlation_id].error == refused.words
    assert Counter(one.outcome for one in history.values()) == {"done": 3, "refused": 3, "failed": 1}


async def test_a_command_is_acknowledged_at_once(redis_url, database, client, gate) -> None:
    async with instance(redis_url, database, gate):

        async def at_once() -> bool:
            return (await send(client, "pause")).ack_ms < 1_000

        await eventually(at_once)  # asked again: where the machine stands still nobody is quick


async def test_a_disabled_user_commands_nothing(redis_url, database, client, gate) -> None:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        (user_id,) = await (
            await connection.execute("SELECT id FROM users WHERE identity_sub = 'ana'")
        ).fetchone()
        known = User(user_id, "local", "ana", "", "ana", None, "user")
        await update_user(connection, replace(known, active=False))
    async with instance(redis_url, database, gate):
        assert (await send(client, "pause", sub="ana")).words == "User 'ana' is disabled."
    assert await ran(client) == []


async def passed(client: redis.asyncio.Redis, at_ms: int) -> bool:
    return await server_ms(client) > at_ms


async def publish(
    client: redis.asyncio.Redis, text: str | bytes, kinds: tuple[str, ...] = ("ack", "error")
) -> dict:
    """Publishes raw text as root and returns the first reply of one of these kinds."""
    async with client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(keys.channel_responses("root"))
        await channel.get_message(timeout=60)
        await client.publish(keys.channel_commands("root"), text)
        async with asyncio.timeout(60):
            while True:
                message = await channel.get_message(timeout=1)
                if message is not None and json.loads(message["data"])["kind"] in kinds:
                    return json.loads(message["data"])


async def test_malformed_stale_and_repeated_messages_are_answered(redis_url, database, client, gate) -> None:
    async with instance(redis_url, database, gate):
        now = await server_ms(client)
        for text, words in (
            ("no json", "malformed"),
            (wire(now, payload={}).replace("{}", "[" * 20_000 + "]" * 20_000), "recursion"),
            (wire(now, type="explode"), "Known types: start"),
            (wire(now, exchange="nasdaq"), "Unknown exchange 'nasdaq'"),
            (wire(now, correlationId="a b"), "correlationId"),
            (wire(now, payload={"speed": 9}), "unknown field `speed`"),
            (wire(now, surprise=1), "unknown field `surprise`"),
            (wire(now + 60_000), "in the future"),
            (wire(now, type="clear-cache", payload={"scope": "moon"}), "$.scope"),
            (wire(now - 31_000), "a command lives 30 s"),
        ):
            reply = await publish(client, text)
            assert reply["kind"] == "error", text
            assert words.lower() in reply["error"].lower(), (text, reply)
        text = wire(await server_ms(client))
        assert (await publish(client, text))["kind"] == "ack"
        assert (await publish(client, text))["kind"] == "ack"
        # Once both are acknowledged and a later one has run, the first has run, and only once.
        assert (await send(client, "resume")).verdict is Verdict.DONE
        assert [line.split()[1] for line in await ran(client)] == ["pause", "resume"]


async def test_of_many_that_wait_none_is_lost(redis_url, database, client, gate, monkeypatch) -> None:
    """Of 200 that came while the receiver was busy each is taken: it reads them 64 at a time."""
    many, held, let_go = 200, threading.Event(), threading.Event()
    hear = CommandReceiver._hear

    def hold(receiver, redis_client, messages) -> None:
        held.set()
        assert let_go.wait(60)
        hear(receiver, redis_client, messages)

    monkeypatch.setattr(CommandReceiver, "_hear", hold)
    async with instance(redis_url, database, gate):
        now = await server_ms(client)
        sent = [wire(now, correlationId=f"many-{number}") for number in range(many)]
        await client.publish(keys.channel_commands("root"), sent[0])
        assert await asyncio.to_thread(held.wait, 60)
        for text in sent[1:]:
            await client.publish(keys.channel_commands("root"), text)
        let_go.set()

        async def all_ran() -> bool:
            return len(await ran(client)) == many

        await eventually(all_ran, 300)


async def test_steering_overtakes_and_what_waits_too_long_expires(redis_url, database, client, gate) -> None:
    gate.clear()
    async with instance(redis_url, database, gate):
        first = asyncio.create_task(send(client, "force-backfill"))
        await eventually(lambda: ran(client))
        # The second backfill is 28 s old already: it will be too old when the first is through. One that the
        # machine brought too late is followed by another.
        async with asyncio.timeout(60):
            while True:
                now = await server_ms(client)
                old = wire(now - 28_000, type="force-backfill")
                if (await publish(client, old))["kind"] == "ack":
                    break
        assert (await send(client, "pause")).verdict is Verdict.DONE
        assert (await send(client, "add-symbol", payload={"symbol": "BTCUSDT"})).verdict is Verdict.DONE
        await eventually(lambda: passed(client, now + 2_100))
        gate.set()
        assert (await first).verdict is Verdict.DONE
        key = keys.command_reply(json.loads(old)["correlationId"], "root")
        await eventually(lambda: client.get(key))
        assert json.loads(await client.get(key))["outcome"] == "expired"
    assert [line.split()[1] for line in await ran(client)] == ["force-backfill", "pause", "add-symbol"]


async def test_within_a_lane_rank_goes_before_arrival(redis_url, database, client, gate) -> None:
    gate.clear()
    async with instance(redis_url, database, gate):
        first = asyncio.create_task(send(client, "force-backfill"))
        await eventually(lambda: ran(client))
        others = []
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL):
            acked = asyncio.Event()
            others.append(
                asyncio.create_task(
                    send(client, "force-backfill", priority=priority, on_reply=lambda _, a=acked: a.set())
                )
            )
            await asyncio.wait_for(acked.wait(), 60)
        gate.set()
        await asyncio.gather(first, *others)
    order = [line.split()[2] for line in await ran(client)]
    assert order == ["normal", "high", "normal", "normal", "low"]


async def test_no_message_and_no_defect_ends_the_channel(redis_url, database, client, gate) -> None:
    async with instance(redis_url, database, gate):
        now = await server_ms(client)
        await client.publish(keys.channel_commands("stranger"), b"\xff\xfe")
        assert "Malformed" in (await publish(client, b"\xff\xfe\xfd"))["error"]
        await client.publish(keys.channel_commands("stranger"), b"\xfe\xff")
        await client.publish(keys.channel_commands("no\0body"), wire(now))
        nul = wire(now, exchange="nas\0daq")
        assert "Unknown exchange" in (await publish(client, nul))["error"]
        nul = wire(now, type="add-symbol", payload={"symbol": "BTC\0"})
        assert "symbol" in (await publish(client, nul))["error"]
        broke = await send(client, "clear-cache", payload={"scope": "all", "confirm": True})
        assert (broke.verdict, "ZeroDivisionError" in broke.words) == (Verdict.FAILED, True)
        done = await send(client, "pause")
        assert done.verdict is Verdict.DONE
        await eventually(lambda: recorded(database, done.correlation_id))


@pytest.mark.parametrize("ticks", range(6))
async def test_it_ends_when_told_in_the_moment_of_news(redis_url, database, client, ticks) -> None:
    """`asyncio.wait_for` of Python 3.11 loses the cancellation that comes with what it waited for."""
    pool = await open_pool(database, None)
    executor = CommandExecutor(
        client, pool, ROW.id, token="", instance_id="i", handlers={}, clock=SystemClock()
    )
    work = asyncio.create_task(executor.run())
    await eventually(lambda: waits(executor))
    executor.heard([])
    for _ in range(ticks):
        await asyncio.sleep(0)
    work.cancel()
    done, _ = await asyncio.wait({work}, timeout=60)
    assert done == {work}
    await pool.close()


async def waits(executor: CommandExecutor) -> bool:
    """Whether each lane has looked once and found nothing."""
    return all(event._waiters for event in executor._wakes.values())


async def recorded(database: str, correlation_id: str) -> bool:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        found = await read_commands(connection)
    return any(one.correlation_id == correlation_id and one.outcome == "done" for one in found)


SENDERS, EACH = 20, 50


async def test_a_thousand_commands_with_the_instance_killed_among_them(redis_url, database, client) -> None:
    """Every one is answered or expired, and none runs twice."""

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.control.commanded", redis_url, database],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        assert any(line == "ready\n" for line in process.stdout)
        return process

    first = await asyncio.to_thread(start)
    sent: list[Answer] = []
    half = asyncio.Event()

    async def one_sender(number: int) -> None:
        own = connect_async(redis_url)
        kinds = ("add-symbol", "reload-settings", "pause")
        try:
            for place in range(EACH):
                kind = kinds[(number + place) % len(kinds)]
                payload = {"symbol": "BTCUSDT"} if kind == "add-symbol" else {}
                sent.append(await send(own, kind, payload=payload, patience_s=45.0))
                if len(sent) >= SENDERS * EACH // 2:
                    half.set()
        finally:
            await own.aclose()

    senders = [asyncio.create_task(one_sender(number)) for number in range(SENDERS)]
    await half.wait()
    first.kill()
    await asyncio.to_thread(first.wait)
    second = await asyncio.to_thread(start)
    await asyncio.gather(*senders)
    second.terminate()
    await asyncio.to_thread(second.wait)
    verdicts = Counter(answer.verdict for answer in sent)
    assert len(sent) == SENDERS * EACH
    # Nobody: sent while the first was dead and the second had not begun. All others have a definite end.
    assert set(verdicts) <= {Verdict.DONE, Verdict.NOBODY, Verdict.FAILED, Verdict.EXPIRED}, verdicts
    assert verdicts[Verdict.DONE] >= SENDERS * EACH * 0.9, verdicts
    assert verdicts[Verdict.FAILED] <= 2, "what ran when it was killed: one per lane that was in use"
    times = Counter(line.split()[0] for line in await ran(client))
    assert max(times.values()) == 1
    done = {answer.correlation_id for answer in sent if answer.verdict is Verdict.DONE}
    assert done <= set(times)
    assert await client.hlen(keys.command_bodies(ROW.id)) == 0
    assert await client.hlen(keys.command_running(ROW.id)) == 0
