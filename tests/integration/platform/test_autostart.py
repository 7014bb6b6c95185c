"""Which exchanges a start starts, and for whom: by option, by settings, or none (C3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from livermore_dagster.accounts.settings import patch
from livermore_dagster.accounts.users import add_user
from livermore_dagster.errors import UnknownUser
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.platform.autostart import decide_autostart, want_autostart
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.options import UpOptions
from livermore_dagster.stores.postgres.users import User
from livermore_dagster.stores.redis.client import connect, connect_async
from livermore_dagster.stores.redis.desired import (
    Desired,
    SymbolChoice,
    read_desired_sync,
    write_desired_sync,
)

COINBASE, BINANCE = row_named("coinbase"), row_named("binance")


@pytest.fixture
def settings(redis_url: str, database_url: str, tmp_path: Path) -> Settings:
    """Two users: root starts coinbase and kraken by settings, ana nothing."""

    async def fill() -> None:
        client = connect_async(redis_url)
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            for sub in ("root", "ana"):
                await add_user(connection, User(0, "local", sub, "", sub, None, "admin"))
            names = ["coinbase", "kraken"]
            await patch(connection, client, "root", "runtime.autostart", names, by="root")
        await client.aclose()

    asyncio.run(fill())
    return Settings(
        home=tmp_path,
        redis_url=redis_url,
        database_url=database_url,
        database_ca=None,
        provenance="live",
        user="root",
    )


def options(
    tmp_path: Path, *names: str, user: str | None = None, symbols: SymbolChoice | None = None
) -> UpOptions:
    return UpOptions(
        home=tmp_path, simulate=False, speed=1.0, seed=1, from_ms=None,
        autostart=tuple(row_named(name) for name in names), symbols=symbols, run_for_s=None, as_json=False,
        port=0, redis_url=None, database_url=None, database_ca=None, user=user,
    )  # fmt: skip


def wanted(settings: Settings, asked: UpOptions) -> tuple[dict[str, Desired | None], list[str]]:
    told: list[str] = []
    found = decide_autostart(asked, settings, told.append)
    want_autostart(found, asked, settings, ROWS)
    with connect(settings.redis_url) as client:
        return {row.name: read_desired_sync(client, row.id) for row in ROWS}, told


def test_settings_start_what_they_name_and_say_so(settings: Settings, tmp_path: Path) -> None:
    desired, told = wanted(settings, options(tmp_path))
    assert desired["coinbase"] == Desired("running", user="root")
    assert desired["binance"] == Desired("idle")
    assert desired["kraken"] is None
    assert any("Starting coinbase, as runtime.autostart of root's settings says" in line for line in told)
    assert any("kraken" in line and "not active" in line for line in told)


def test_what_is_asked_for_outweighs_settings_and_a_named_user_starts_with_his_own_symbols(
    settings: Settings, tmp_path: Path
) -> None:
    with connect(settings.redis_url) as client:
        write_desired_sync(client, BINANCE.id, Desired("idle", SymbolChoice(top=3), "root"))
    desired, _ = wanted(settings, options(tmp_path, "binance"))
    assert desired["binance"] == Desired("running", SymbolChoice(top=3), "root")
    assert desired["coinbase"] == Desired("idle")
    desired, told = wanted(settings, options(tmp_path, "binance", user="ana"))
    assert desired["binance"] == Desired("running", user="ana")
    assert told == []
    desired, _ = wanted(settings, options(tmp_path, "binance", user="ana", symbols=SymbolChoice(top=9)))
    assert desired["binance"] == Desired("running", SymbolChoice(top=9), "ana")


def test_settings_say_in_which_mode_they_start_an_exchange(settings: Settings, tmp_path: Path) -> None:
    async def hold_only(sub: str) -> None:
        client = connect_async(settings.redis_url)
        async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
            await patch(connection, client, sub, "runtime.mode", "position-monitor", by=sub)
        await client.aclose()

    asyncio.run(hold_only("root"))
    desired, _ = wanted(settings, options(tmp_path))
    assert desired["coinbase"] == Desired("running", user="root", mode="position-monitor")
    desired, _ = wanted(settings, options(tmp_path, "binance"))
    assert desired["binance"] == Desired("running", user="root"), "a mode switched to outlasts a restart"
    desired, _ = wanted(settings, options(tmp_path, "coinbase", user="ana"))
    assert desired["coinbase"] == Desired("running", user="ana")


def test_an_unknown_user_is_an_error_where_he_was_named_and_told_where_not(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(UnknownUser, match="root, ana"):
        wanted(settings, options(tmp_path, "binance", user="eve"))
    desired, told = wanted(replace(settings, user="gone"), options(tmp_path, "binance"))
    assert desired["binance"] == Desired("running")
    assert any("Unknown user 'gone'" in line for line in told)
