"""The process that hears commands for an instance: replaced when it dies, gone when the instance is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import psycopg
import pytest
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.commands.ears import Ears, Hearing
from livermore_dagster.control.commands.message import CommandType
from livermore_dagster.control.commands.sender import send_command
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.stores.postgres.commands import CommandRecord
from livermore_dagster.stores.postgres.users import User, insert_user
from livermore_dagster.stores.redis.client import connect, connect_async
from tests.eventually import eventually

ROW = row_named("binance")


class Instance:
    """What of an instance the ears know: its claim, what it was told, and whether it has room."""

    def __init__(self, redis_url: str, database_url: str) -> None:
        self.claim = Claim(connect(redis_url), ROW.id, ROW.name)
        self.claim.acquire(10)
        facts = self.claim.status
        self.hearing = Hearing(
            redis_url, database_url, ROW.id, ROW.name, facts.token, facts.instance_id, [ROW.name]
        )
        self.heard: list[CommandRecord] = []
        self.full = False
        self.ears = Ears(self.hearing, SystemClock(), on_heard=self.hear, is_full=lambda: self.full)

    def hear(self, records: Sequence[CommandRecord]) -> None:
        self.heard += records

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        work = asyncio.create_task(self.ears.run())
        try:
            async with asyncio.timeout(60):
                await self.ears.listening.wait()
            assert self.ears.pid is not None
            yield self.ears.pid
        finally:
            work.cancel()
            await asyncio.wait({work})


@pytest.fixture
async def client(redis_url: str, database_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await insert_user(connection, User(0, "local", "root", "", "root", None, "admin"))
    client = connect_async(redis_url)
    yield client
    await client.aclose()


async def refusal(client: redis.asyncio.Redis) -> str:
    """Sends a command that nobody runs; '' once it is acknowledged, else why it is not."""
    acknowledged = asyncio.Event()
    ack = asyncio.create_task(acknowledged.wait())
    sending = asyncio.create_task(
        send_command(client, ROW, "root", CommandType.PAUSE, {}, on_reply=lambda _: acknowledged.set())
    )
    done, waiting = await asyncio.wait({sending, ack}, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return "" if ack in done else sending.result().words


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_ears_that_die_are_replaced_and_end_with_whom_they_hear_for(
    redis_url: str, database_url: str, client: redis.asyncio.Redis
) -> None:
    instance = Instance(redis_url, database_url)
    async with instance.listening() as first:
        assert await refusal(client) == ""

        async def heard() -> bool:
            return [one.outcome for one in instance.heard] == ["accepted"]

        await eventually(heard)
        os.kill(first, signal.SIGKILL)

        async def replaced() -> bool:
            return instance.ears.pid != first and instance.ears.listening.is_set()

        await eventually(replaced)
        assert await refusal(client) == ""
        instance.full = True

        async def refused() -> bool:
            said = "history" in await refusal(client)
            return said and {one.outcome for one in instance.heard} == {"accepted", "refused"}

        await eventually(refused)
    second = instance.ears.pid
    assert second is not None
    assert not alive(second)


def test_ears_end_when_nobody_speaks_to_them(redis_url: str, database_url: str) -> None:
    instance = Instance(redis_url, database_url)
    ears = subprocess.Popen(
        [sys.executable, "-m", Ears.__module__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert ears.stdin is not None
    assert ears.stdout is not None
    ears.stdin.write(msgspec.json.encode(instance.hearing) + b"\n")
    ears.stdin.flush()
    assert [ears.stdout.readline() for _ in range(2)] == [b"ready\n", b"listening\n"]
    ears.stdin.close()
    assert ears.wait(60) == 0
