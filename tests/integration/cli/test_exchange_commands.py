"""`livermore start` and `stop`: what is wished is kept, what cannot be had is refused before it is wished."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest
import redis

from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.stores.redis.client import connect, connect_async
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice, give_up_desired, read_desired_sync

from .conftest import BINANCE, Command

pytestmark = pytest.mark.usefixtures("filled")


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
    assert desired(redis_url) == Desired("running", SymbolChoice(listed=("BTCUSDT", "ETHUSDT")))


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
        wanted = Desired("running", SymbolChoice(top=20))
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
    assert desired(redis_url) == Desired("running", SymbolChoice(top=20))


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
