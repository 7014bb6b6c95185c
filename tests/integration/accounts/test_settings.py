"""Users and their settings over a real PostgreSQL and Valkey."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import psycopg
import pytest
import redis.asyncio
from psycopg import AsyncConnection

from livermore_dagster.accounts import settings
from livermore_dagster.accounts.settings_document import SettingsDocument
from livermore_dagster.accounts.users import add_user, change_user, ensure_local_admin
from livermore_dagster.errors import BadSetting, InactiveUser, SettingsRefused, StaleSettings, UnknownUser
from livermore_dagster.stores.postgres.user_settings import read_changes
from livermore_dagster.stores.postgres.users import Role, User
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        yield connection


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = connect_async(redis_url)
    yield client
    await client.aclose()


async def person(connection: AsyncConnection, sub: str = "ana", role: Role = "user") -> User:
    user = await add_user(connection, User(0, "local", sub, "", sub, None, role))
    await connection.commit()
    return user


async def test_a_patch_is_stored_audited_and_told(connection: AsyncConnection, client) -> None:
    await person(connection)
    async with client.pubsub() as heard:
        await heard.subscribe(keys.CHANNEL_SETTINGS)
        await heard.get_message(timeout=60)
        written = await settings.patch(connection, client, "ana", "alerts.cooldown_s", 900, by="local:root")
        message = await heard.get_message(timeout=60)
    assert written.revision == 1
    assert json.loads(message["data"]) == {"user_id": written.user_id, "sub": "ana", "revision": 1}
    assert (await settings.load(connection, "ana")).document.alerts.cooldown_s == 900
    (change,) = await read_changes(connection, "ana", 10)
    assert change[:5] == (1, "alerts.cooldown_s", "300", "900", "local:root")


@pytest.mark.parametrize(
    ("path", "value", "named", "rule"),
    [
        ("alerts.cooldown_s", "900", "alerts.cooldown_s", "valid integer"),
        ("alerts.levles", [150], "alerts.levles", "there is no such setting"),
        ("alerts.levels", [175], "alerts.levels", "±150"),
        ("profile.time_zone", "Mars/Base", "profile.time_zone", "IANA"),
        ("alerts.mutes", [{}], "alerts.mutes.0", "names an exchange"),
        ("alerts.nothing.there", 1, "alerts.nothing.there", "no such path"),
        ("symbols.0.enabled", True, "symbols.0.enabled", "no such path"),
        ("alerts.levels.-1", 150, "alerts.levels.-1", "no such path"),
        ("version", 7, "version", "up to 2"),
        (
            "symbols",
            {"binance": {"BTCUSDT": {"on": True}}},
            "symbols.binance.BTCUSDT.on",
            "there is no such setting",
        ),
    ],
)
async def test_what_is_refused_names_path_value_and_rule(
    connection: AsyncConnection, client, path: str, value: object, named: str, rule: str
) -> None:
    await person(connection)
    with pytest.raises(SettingsRefused) as refused:
        await settings.patch(connection, client, "ana", path, value, by="ana")
    ((place, shown, why),) = refused.value.problems
    assert place == named
    assert rule in why
    assert shown
    assert (await settings.load(connection, "ana")).revision == 0


async def test_a_stale_write_is_refused_and_changes_nothing(connection: AsyncConnection, client) -> None:
    await person(connection)
    await settings.patch(connection, client, "ana", "alerts.enabled", False, by="ana", made_from=0)
    with pytest.raises(StaleSettings, match="revision 1"):
        await settings.patch(connection, client, "ana", "alerts.enabled", True, by="bob", made_from=0)
    assert (await settings.load(connection, "ana")).document.alerts.enabled is False


async def test_writers_at_once_lose_no_change(database_url: str, connection: AsyncConnection, client) -> None:
    await person(connection)
    await settings.patch(connection, client, "ana", "symbols", {"binance": {}}, by="ana")
    paths = [f"symbols.binance.PLACE{number}" for number in range(12)]

    async def write(path: str) -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as own:
            await settings.patch(own, client, "ana", path, {"enabled": False}, by="ana")

    await asyncio.gather(*(write(path) for path in paths))
    loaded = await settings.load(connection, "ana")
    assert sorted(loaded.document.symbols["binance"]) == sorted(path.split(".")[2] for path in paths)
    assert loaded.revision == 1 + len(paths)


async def test_settings_nobody_can_read_are_nobody_elses_trouble(connection: AsyncConnection, client) -> None:
    for sub in ("ana", "bob"):
        await person(connection, sub)
        await settings.patch(connection, client, sub, "alerts.enabled", False, by=sub)
    await connection.execute(
        "UPDATE user_settings SET document = '{\"version\": 99}' "
        "FROM users WHERE users.id = user_id AND identity_sub = 'ana'"
    )
    assert [one.sub for one in await settings.load_active(connection)] == ["bob"]
    with pytest.raises(SettingsRefused, match="version"):
        await settings.load(connection, "ana")


async def test_settings_nobody_can_read_are_mended_by_replacing_them(
    connection: AsyncConnection, client
) -> None:
    await person(connection)
    await settings.patch(connection, client, "ana", "alerts.enabled", False, by="ana")
    lost = '{"version": 99, "wishes": ["all"]}'
    await connection.execute("UPDATE user_settings SET document = %s", (lost,))
    sound = SettingsDocument().model_dump_json()
    with pytest.raises(SettingsRefused, match="version"):
        await settings.patch(connection, client, "ana", "alerts.enabled", True, by="root")
    with pytest.raises(StaleSettings):
        await settings.replace(connection, client, "ana", sound, by="root", made_from=0)
    with pytest.raises(SettingsRefused, match="version"):
        await settings.replace(connection, client, "ana", lost, by="root")
    await settings.replace(connection, client, "ana", sound, by="root", made_from=1)
    loaded = await settings.load(connection, "ana")
    assert (loaded.revision, loaded.document) == (2, SettingsDocument())
    change = (await read_changes(connection, "ana", 1))[0]
    assert (change.path, change.by) == (settings.WHOLE, "root")
    assert json.loads(str(change.before)) == json.loads(lost)
    assert json.loads(str(change.after)) == json.loads(sound)


async def test_an_unknown_or_disabled_user_has_no_settings(connection: AsyncConnection, client) -> None:
    await person(connection, "root", "admin")
    await person(connection)
    with pytest.raises(UnknownUser, match="root, ana"):
        await settings.load(connection, "eve")
    await change_user(connection, "ana", active=False)
    with pytest.raises(InactiveUser):
        await settings.patch(connection, client, "ana", "alerts.enabled", False, by="root")
    assert [one.sub for one in await settings.load_active(connection)] == ["root"]


async def test_the_first_user_is_made_once_and_the_last_admin_stays(connection: AsyncConnection) -> None:
    made = await ensure_local_admin(connection, "kim")
    assert made is not None
    assert (made.sub, made.role) == ("local:kim", "admin")
    assert await ensure_local_admin(connection, "lee") is None
    with pytest.raises(BadSetting, match="only active admin"):
        await change_user(connection, "local:kim", role="user")
    with pytest.raises(BadSetting, match="only active admin"):
        await change_user(connection, "local:kim", active=False)


async def test_a_sub_is_taken_once_and_must_be_one(connection: AsyncConnection) -> None:
    await person(connection)
    with pytest.raises(BadSetting, match="exists already"):
        await person(connection)
    with pytest.raises(BadSetting, match="printable"):
        await person(connection, "two words")


async def test_a_document_stored_by_an_older_version_is_read_as_what_it_is_now(
    connection: AsyncConnection, client
) -> None:
    user = await person(connection)
    old = {"version": 1, "symbols": [{"exchange": "binance", "symbol": "BTCUSDT", "enabled": False}]}
    await connection.execute(
        "INSERT INTO user_settings (user_id, revision, document) VALUES (%s, 1, %s)",
        (user.id, json.dumps(old)),
    )
    read = await settings.load(connection, "ana")
    assert read.document.version == 2
    assert read.document.symbols["binance"]["BTCUSDT"].enabled is False
    await settings.patch(connection, client, "ana", "symbols.binance.BTCUSDT.enabled", True, by="ana")
    row = await (await connection.execute("SELECT document FROM user_settings")).fetchone()
    assert row is not None
    assert row[0]["version"] == 2
    (change,) = await read_changes(connection, "ana", 10)
    assert change[:4] == (2, "symbols.binance.BTCUSDT.enabled", "false", "true")


async def test_an_amendment_is_made_of_what_is_there_when_it_is_made(
    database_url: str, connection: AsyncConnection, client
) -> None:
    await person(connection)

    async def add(name: str) -> None:
        def change(document: SettingsDocument) -> SettingsDocument:
            whole = document.model_dump(mode="json")
            whole["symbols"].setdefault("binance", {})[name] = {"enabled": True}
            return settings.parse_document(json.dumps(whole))

        async with await psycopg.AsyncConnection.connect(database_url) as own:
            await settings.amend(own, client, "ana", change, by="ana")

    await asyncio.gather(*(add(f"C{number}USDT") for number in range(8)))
    loaded = await settings.load(connection, "ana")
    assert loaded.document.symbols_at("binance") == [f"C{number}USDT" for number in range(8)]
