"""Two homes want one exchange: one holds it, one waits, and whatever becomes of them nothing is lost."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from livermore_dagster.control.commands.sender import Verdict
from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.redis import keys
from tests.e2e.platform_run import wait_for
from tests.e2e.two_homes import ACTIVE_S, TwoHomes, market_of

pytestmark = pytest.mark.xdist_group("homes")

SEED = 23
ONE, TWO = "/srv/one", "/srv/two"


@pytest.fixture
def homes(redis_url, database_url) -> Iterator[TwoHomes]:
    folder = Path(tempfile.mkdtemp(prefix="lv-homes-"))
    try:
        with (
            market_of(folder, "coinbase", SEED) as doors,
            redis.Redis.from_url(redis_url, decode_responses=True) as client,
        ):
            settings = Settings(folder, redis_url, database_url, f"sim:{SEED}")
            found = TwoHomes(settings, doors, "coinbase", client)
            try:
                found.begin(symbols=6)
                yield found
            finally:
                found.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_standby_takes_over_and_the_former_holder_stands_by(homes: TwoHomes, redis_url) -> None:
    with listening(redis_url, homes.row.id) as heard:
        kill_and_hand_over(homes)
        assert homes.wrong() == []
    stored = {number for (number,) in query(homes, "SELECT id FROM alert_history")}
    assert stored, "a quarter of an hour without an alert shows nothing"
    assert set(heard) == stored
    assert all(len(attempts) == len(set(attempts)) for attempts in heard.values())
    told = [(event.event, event.home.partition(":")[2]) for event in homes.story()]
    assert [one for one in told if one[0] not in ("transition", "error")] == [
        ("standby", TWO), ("offline", ONE), ("taken over", TWO), ("back", TWO), ("standby", ONE),
        ("handed over", TWO),
    ]  # fmt: skip


def kill_and_hand_over(homes: TwoHomes) -> None:
    holder = homes.start(ONE)
    wait_for(
        lambda: homes.active_at(ONE) or holder.poll() is not None, ACTIVE_S, "the first home is not active"
    )
    assert homes.active_at(ONE), homes.said(holder)
    standby = homes.start(TWO, "--standby")
    wait_for(lambda: homes.waits_at(TWO), ACTIVE_S, "the second home does not stand by")
    homes.window.begin(homes.market_ms())
    homes.pass_market_time(5)

    holder.kill()
    wait_for(lambda: homes.active_at(TWO), ACTIVE_S, "the standby does not take over")

    refused = homes.start(ONE)
    assert refused.wait(ACTIVE_S) == 1
    assert f"pid {standby.pid}" in homes.said(refused)
    homes.start(ONE, "--standby")
    wait_for(lambda: homes.waits_at(ONE), ACTIVE_S, "the former holder does not stand by")
    homes.pass_market_time(5)

    answer = homes.hand_over()
    assert answer.verdict is Verdict.DONE, answer
    wait_for(lambda: homes.active_at(ONE), ACTIVE_S, "nothing was handed over")
    assert standby.wait(10) == 0
    homes.pass_market_time(5)


def query(homes: TwoHomes, sql: str) -> list[tuple]:
    with psycopg.connect(homes.settings.database_url) as connection:
        return connection.execute(sql).fetchall()


@contextmanager
def listening(url: str, exchange_id: int) -> Iterator[dict[int, list[int]]]:
    """The attempts of each alert published meanwhile, by its id."""
    heard: dict[int, list[int]] = defaultdict(list)
    end, ready = threading.Event(), threading.Event()

    def listen() -> None:
        with redis.Redis.from_url(url, decode_responses=True) as client, client.pubsub() as channel:
            channel.subscribe(keys.channel_alerts(exchange_id))
            while not end.is_set():
                message = channel.get_message(timeout=0.2)
                ready.set()
                if message is not None and message["type"] == "message":
                    alert = json.loads(message["data"])
                    heard[int(alert["id"])].append(int(alert["attempt"]))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert ready.wait(5)
        yield heard
    finally:
        end.set()
        thread.join()
