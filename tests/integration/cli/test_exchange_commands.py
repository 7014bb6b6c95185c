"""`livermore start` and `stop`: what is wished is kept, what cannot be had is refused before it is wished."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis

from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.stores.postgres.users import User, insert_user
from livermore_dagster.stores.redis.client import connect, connect_async
from livermore_dagster.stores.redis.desired import (
    Desired,
    SymbolChoice,
    change_desired_sync,
    give_up_desired,
    read_desired_sync,
    write_desired_sync,
)
from tests.integration.control.commanded import RAN, instance

from .conftest import BINANCE, Command

pytestmark = pytest.mark.usefixtures("filled", "people")


@pytest.fixture
def people(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin, whose home this is, and one who may command nothing."""

    async def add() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            for sub, role in (("ana", "admin"), ("eve", "user")):
                await insert_user(connection, User(0, "local", sub, "", sub, None, role))

    asyncio.run(add())
    monkeypatch.setenv("LIVERMORE_USER", "ana")


def history(command: Command) -> list[tuple[str, str, str]]:
    """Who sent what and what became of it, the oldest first."""
    sent = json.loads(command("commands", "--json").out or "[]")
    return [(one["sub"], one["type"], one["outcome"]) for one in reversed(sent)]


def desired(redis_url: str) -> Desired | None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        return read_desired_sync(client, BINANCE)


def test_a_symbol_the_exchange_does_not_list_is_refused_with_near_names(
    command: Command, redis_url: str
) -> None:
    done = command("start", "binance", "--symbols", "BTCUSDT,ETHUSD")
    assert done.code == 2
    assert "'ETHUSD' on binance" in done.err
    assert "Did you mean ETHUSDT" in done.err
    assert desired(redis_url) is None
    assert command("start", "binance", "--symbols", "BTCUSDT,ETHUSDT").code == 0
    wanted = Desired("running", SymbolChoice(listed=("BTCUSDT", "ETHUSDT")), "ana")
    assert desired(redis_url) == wanted


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_a_user_nobody_knows_is_refused_before_anything_is_wished(
    command: Command, redis_url: str, verb: str
) -> None:
    done = command(verb, "binance", "--user", "GHOST")
    assert done.code == 2
    assert "'GHOST'" in done.err
    assert desired(redis_url) is None


def test_status_says_why_an_exchange_was_given_up(command: Command, redis_url: str) -> None:
    assert command("start", "binance", "--symbols", "20").code == 0

    async def give_up() -> None:
        client = connect_async(redis_url)
        wanted = Desired("running", SymbolChoice(top=20), "ana")
        assert await give_up_desired(client, BINANCE, wanted, "No such thing.")
        await client.aclose()

    asyncio.run(give_up())
    facts = json.loads(command("status", "--json").out)
    assert facts["exchanges"]["binance"]["desired"] == "idle"
    assert facts["exchanges"]["binance"]["last_error"] == "No such thing."
    assert [
        "binance went back to idle" in line and "No such thing." in line for line in facts["trouble"]
    ] == [True]


def test_a_start_without_symbols_keeps_those_of_before(command: Command, redis_url: str) -> None:
    assert command("start", "binance", "--symbols", "20").code == 0
    assert command("stop", "binance").code == 0
    assert command("start", "binance").code == 0
    assert desired(redis_url) == Desired("running", SymbolChoice(top=20), "ana")


def test_start_tells_what_keeps_an_exchange_from_starting(
    command: Command, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "platform.json").write_text("{}")
    words = "Binance does not serve this place (HTTP 451)."

    def fail() -> None:
        """An instance comes up, and ends as one does that is refused."""
        with connect(redis_url) as client:
            while read_desired_sync(client, BINANCE) is None:
                time.sleep(0.02)
            claim = Claim(client, BINANCE, "binance", run_id=None)
            claim.acquire()
            claim.advance(InstanceState.STARTING)
            claim.record_error(words)
            claim.advance(InstanceState.IDLE)
            claim.release()

    instance = threading.Thread(target=fail)
    instance.start()
    done = command("start", "binance")
    instance.join()
    assert done.code == 1
    assert f"binance could not start: {words}" in done.err
    assert "tried again by itself" in done.err


def test_who_started_and_stopped_is_in_the_history_with_and_without_an_instance(
    command: Command, redis_url: str, database_url: str
) -> None:
    assert command("start", "binance", "--symbols", "5", "--no-wait").code == 0
    assert command("start", "binance", "--no-wait", "--user", "eve").code == 2
    assert command("stop", "binance").code == 0
    first = [("ana", "start", "done"), ("eve", "start", "refused"), ("ana", "stop", "done")]
    assert history(command) == first

    async def commanded() -> None:
        gate = asyncio.Event()
        async with instance(redis_url, database_url, gate):
            for verb, code in (("start", 0), ("stop", 0)):
                done = await asyncio.to_thread(command, verb, "binance", *["--no-wait"][: verb == "start"])
                assert done.code == code, done.err
            refused = await asyncio.to_thread(command, "stop", "binance", "--user", "eve")
            assert (refused.code, "no admin" in refused.err) == (2, True)

    asyncio.run(commanded())
    assert history(command) == [
        *first, ("ana", "start", "done"), ("ana", "stop", "done"), ("eve", "stop", "refused")
    ]  # fmt: skip
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert [line.split()[1] for line in client.lrange(RAN, 0, -1)] == ["start", "stop"]
    nobody = command("start", "binance", LIVERMORE_USER="")
    assert (nobody.code, "Who is this for" in nobody.err) == (2, True)


def test_a_start_without_an_instance_leaves_it_paused(command: Command, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        write_desired_sync(client, BINANCE, Desired("running", mode="position-monitor", paused=True))
        assert command("start", "binance", "--no-wait").code == 0
    left = desired(redis_url)
    assert left == Desired("running", user="ana", mode="position-monitor", paused=True)


def test_two_who_change_what_is_wanted_at_once_both_have_their_way(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        write_desired_sync(client, BINANCE, Desired("running"))
        times: list[bool] = []

        def change(known: Desired) -> Desired:
            if not times:
                change_other = replace(known, symbols=SymbolChoice(top=7))
                write_desired_sync(client, BINANCE, change_other)
            times.append(True)
            return replace(known, state="stopped")

        change_desired_sync(client, BINANCE, change)
        assert read_desired_sync(client, BINANCE) == Desired("stopped", SymbolChoice(top=7))
        assert len(times) == 2
