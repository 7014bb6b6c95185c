"""The history of commands while PostgreSQL takes nothing: bounded, in its order, nothing lost unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.commands.history import CommandHistory
from livermore_dagster.incidents import IncidentName
from livermore_dagster.stores.postgres.commands import CommandRecord, read_commands
from livermore_dagster.stores.postgres.connect import open_pool
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.metrics import read_counters, read_incidents
from tests.eventually import eventually

BINANCE = 2


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = connect_async(redis_url)
    yield client
    await client.aclose()


def record(name: str, outcome: str, at_ms: int, **facts) -> CommandRecord:
    over = None if outcome in ("accepted", "running") else at_ms
    return CommandRecord(
        name, "ana", "pause", "binance", {}, "normal", 1, at_ms, finished_ms=over, outcome=outcome, **facts
    )


@asynccontextmanager
async def keeping(client, database_url: str, kept: int = 5_000) -> AsyncIterator[CommandHistory]:
    pool = await open_pool(database_url, None)
    history = CommandHistory(client, pool, BINANCE, SystemClock(), kept=kept)
    work = asyncio.create_task(history.run())
    try:
        yield history
    finally:
        work.cancel()
        await asyncio.wait({work})
        await pool.close()


async def stored(database_url: str) -> dict[str, CommandRecord]:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        return {one.correlation_id: one for one in await read_commands(connection)}


async def test_what_was_taken_is_kept_and_what_is_dropped_is_told(client, database_url: str) -> None:
    async with (
        await psycopg.AsyncConnection.connect(database_url) as blocker,
        keeping(client, database_url, kept=3) as history,
    ):
        await blocker.execute("LOCK TABLE command_history")  # PostgreSQL is there, and takes nothing
        for number in range(2):
            history.note(record(f"taken-{number}", "accepted", 10 + number))
        assert not history.full
        history.note(record("refused-0", "refused", 12))
        assert history.full
        for number in range(1, 4):
            history.note(record(f"refused-{number}", "refused", 12 + number))
        for number in range(2):
            history.note(record(f"taken-{number}", "running", 20, started_ms=20))
            history.note(record(f"taken-{number}", "done", 30, started_ms=20, result={"did": number}))
            history.note(record(f"taken-{number}", "failed", 40, error="too late"))
        await blocker.rollback()

        async def all_told() -> bool:
            counters = await read_counters(client, BINANCE)
            return len(await stored(database_url)) == 3 and counters.get("commands_unrecorded", 0) == 3

        await eventually(all_told)
        assert not history.full
    found = await stored(database_url)
    assert {name: one.outcome for name, one in found.items()} == {
        "taken-0": "done", "taken-1": "done", "refused-0": "refused",
    }  # fmt: skip
    assert (found["taken-1"].received_ms, found["taken-1"].started_ms) == (11, 20)
    assert (found["taken-1"].finished_ms, found["taken-1"].result) == (30, {"did": 1})
    (told,) = await read_incidents(client)
    assert (told.name, "3 commands" in told.text) == (IncidentName.COMMANDS_UNRECORDED, True)


async def test_what_cannot_be_stored_holds_nothing_back_and_an_end_loses_nothing(
    client, database_url: str
) -> None:
    async with keeping(client, database_url) as history:
        for name in ("one", "no\0text", "two"):
            history.note(record(name, "refused", 10))

        async def told() -> bool:
            return (await read_counters(client, BINANCE)).get("commands_unrecorded") == 1

        await eventually(told)
        history.note(record("three", "done", 10))  # and ended at once
    assert set(await stored(database_url)) == {"one", "two", "three"}
