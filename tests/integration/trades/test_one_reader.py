"""An account that is being read: who else wants it waits, and is told by whom it is held."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest

from livermore_dagster import resources
from livermore_dagster.definitions import defs
from livermore_dagster.errors import AccountBusy
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.resources import ACCOUNTS
from livermore_dagster.stores.postgres.account_lock import find_account_reader
from livermore_dagster.stores.postgres.exchanges import upsert_rows
from livermore_dagster.stores.redis.account_events import AccountEvent
from livermore_dagster.trades.session import _busy, open_account, require_account
from sensors.account_fills import Asked, run_request
from tests.eventually import eventually
from tests.integration.ingest.played import Platform
from tests.integration.trades.accounts import register, variables


@pytest.fixture
def account(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Platform, int]:
    async def rows() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            await upsert_rows(connection, ROWS)

    asyncio.run(rows())
    for name in variables("binance"):
        monkeypatch.setenv(name, "nobody")
    platform = Platform(redis_url, database_url, {})
    return platform, register(platform, "binance")


@pytest.fixture
def reader(account: tuple[Platform, int]) -> Iterator[psycopg.Connection]:
    """Another session at the account."""
    platform, account_id = account
    with psycopg.connect(platform.database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s, %s)", (0x4C56, account_id))
        yield connection


def test_a_reader_is_waited_for_as_long_as_was_said_and_named(
    account: tuple[Platform, int], reader: psycopg.Connection
) -> None:
    platform, account_id = account

    async def opened(patience_s: float | None) -> str:
        async with open_account(account_id, "binance", platform, patience_s=patience_s) as session:
            return session.account.key

    with pytest.raises(AccountBusy, match=f"PostgreSQL session {reader.info.backend_pid}, from") as refused:
        asyncio.run(opened(0.05))
    assert f"Account binance.{account_id} is read by another process since" in str(refused.value)

    async def until_it_is_done() -> str:
        waiting = asyncio.create_task(opened(None))

        async def it_waits() -> bool:
            return reader.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone() is not None

        await eventually(it_waits)
        reader.execute("SELECT pg_advisory_unlock_all()")
        return await waiting

    assert asyncio.run(until_it_is_done()) == f"binance.{account_id}"


async def test_a_reader_that_postgresql_does_not_show_is_named_by_its_session_alone(
    account: tuple[Platform, int], reader: psycopg.Connection
) -> None:
    platform, account_id = account
    async with await psycopg.AsyncConnection.connect(platform.database_url) as asking:
        # Of a role without pg_read_all_stats, as on a server that others use too.
        await asking.execute("CREATE ROLE livermore_of_few_rights")
        await asking.execute("SET LOCAL ROLE livermore_of_few_rights")
        found = await find_account_reader(asking, account_id)
        await asking.rollback()
        stored = await require_account(asking, "binance", account_id=account_id)
    assert found == (reader.info.backend_pid, None, None)
    said = f"is read by another process (PostgreSQL session {reader.info.backend_pid}); waited 5 s"
    assert said in str(_busy(stored, found, 5.0))


def test_a_run_among_the_boundaries_does_not_wait_for_long(
    account: tuple[Platform, int], reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    platform, account_id = account
    monkeypatch.setattr(resources, "QUICK_PATIENCE_S", 0.05)
    for name, value in platform.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LIVERMORE_HOME", str(tmp_path))
    key = f"binance.{account_id}"
    tags = run_request(key, Asked(AccountEvent(2, account_id, "fill", 1, entry_id="1-0"))).tags
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(ACCOUNTS.name or "", [key])
        result = defs.get_repository_def().get_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("fills")], partition_key=key, tags=tags,
            raise_on_error=False,
        )  # fmt: skip
    failed = [event for event in result.all_events if event.is_step_failure]
    assert "is read by another process" in str(failed[0].step_failure_data.user_failure_data.description)
