"""Two homes want one exchange: one holds it, one waits, and whatever becomes of them nothing is lost."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import redis

from livermore_dagster.control.claim import read_claim
from livermore_dagster.control.commands.sender import Verdict
from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.redis import keys
from tests.e2e.platform_run import ENDED_S, STARTED_S, livermore, processes_of, wait_for
from tests.e2e.two_homes import ACTIVE_S, FIRST_CLOSES_MIN, TwoHomes, listening, market_of
from tests.e2e.under_fire import runs_of

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
        story = told(homes)
        homes.end()  # an alert may be stored and not yet published
    stored = {number for (number,) in homes.query("SELECT id FROM alert_history")}
    assert stored, "a quarter of an hour without an alert shows nothing"
    assert set(heard) == stored
    assert all(len(attempts) == len(set(attempts)) for attempts in heard.values())
    assert story == [
        ("standby", TWO), ("offline", ONE), ("taken over", TWO), ("back", TWO), ("standby", ONE),
        ("handed over", TWO),
    ]  # fmt: skip


def told(homes: TwoHomes) -> list[tuple[str, str]]:
    """What the activity stream says beside states: what happened, and of which home."""
    events = [(event.event, event.home.partition(":")[2]) for event in homes.story()]
    return [one for one in events if one[0] not in ("transition", "error")]


def kill_and_hand_over(homes: TwoHomes) -> None:
    holder = homes.start(ONE)
    wait_for(
        lambda: homes.active_at(ONE) or holder.poll() is not None, STARTED_S, "the first home is not active"
    )
    assert homes.active_at(ONE), homes.said(holder)
    standby = homes.start(TWO, "--standby")
    wait_for(lambda: homes.waits_at(TWO), STARTED_S, "the second home does not stand by")
    homes.window.begin(homes.market_ms())
    homes.pass_market_time(5)

    asked = homes.requests_so_far()
    holder.kill()
    held = homes.held()
    wait_for(lambda: homes.active_at(TWO), ACTIVE_S, "the standby does not take over")
    assert homes.asked_though_held(asked, held) == [], "the cache is shared: only what is new is fetched"

    refused = homes.start(ONE)
    assert refused.wait(STARTED_S) == 1
    assert f"pid {standby.pid}" in homes.said(refused)
    homes.start(ONE, "--standby")
    wait_for(lambda: homes.waits_at(ONE), STARTED_S, "the former holder does not stand by")
    homes.pass_market_time(5)

    answer = homes.hand_over()
    assert answer.verdict is Verdict.DONE, answer
    wait_for(lambda: homes.active_at(ONE), STARTED_S, "nothing was handed over")
    assert standby.wait(ENDED_S) == 0
    homes.pass_market_time(5)


@pytest.mark.soak
def test_who_sleeps_beyond_its_claim_changes_nothing_when_it_wakes(homes: TwoHomes, redis_url) -> None:
    """The claim runs out in its own time: a process that only sleeps is not certainly dead."""
    with listening(redis_url, homes.row.id) as heard:
        holder = homes.start(ONE)
        wait_for(lambda: homes.active_at(ONE), ACTIVE_S, "the first home is not active")
        homes.start(TWO, "--standby")
        wait_for(lambda: homes.waits_at(TWO), ACTIVE_S, "the second home does not stand by")
        homes.window.begin(homes.market_ms())
        homes.pass_market_time(FIRST_CLOSES_MIN)

        holder.send_signal(signal.SIGSTOP)
        left_s = homes.client.pttl(keys.status(homes.row.id)) / 1000
        asked, held, slept = homes.requests_so_far(), homes.held(), time.monotonic()
        wait_for(lambda: homes.active_at(TWO), ACTIVE_S, "the standby does not take over")
        assert time.monotonic() - slept > left_s > 25, "nobody takes what has not run out"
        assert homes.asked_though_held(asked, held) == []
        before = read_claim(homes.client, homes.row.id)

        holder.send_signal(signal.SIGCONT)
        assert holder.wait(30) == 1
        assert "The claim on coinbase is lost: another instance holds it now" in homes.said(holder)
        after = read_claim(homes.client, homes.row.id)
        assert (after.status.token, after.status.pid) == (before.status.token, before.status.pid)
        assert homes.active_at(TWO)
        homes.pass_market_time(10)
        assert homes.wrong() == []
        story = told(homes)
        homes.end()
    assert set(heard) == {number for (number,) in homes.query("SELECT id FROM alert_history")}
    assert story == [("standby", TWO), ("offline", ONE), ("taken over", TWO), ("back", TWO)]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_whole_home_dies_and_comes_back(homes: TwoHomes, redis_url) -> None:
    """`livermore up` twice at once on empty servers, one told to start the exchange only when it is up; then
    everything of the home that holds is killed."""
    places = {name: homes.platform(name) for name in ("one", "two")}
    join = ("--simulate", "--join", str(homes.doors))
    options = {"one": (*join, "--autostart", homes.exchange, "--symbols", "6"), "two": join}
    with ExitStack() as stack:
        heard = stack.enter_context(listening(redis_url, homes.row.id))
        for name, place in places.items():
            stack.enter_context(place.running(*options[name]))
        wait_for(lambda: (places["two"].home / "run" / "platform.json").exists(), 120, "not up")
        started = livermore("start", homes.exchange, "--home", str(places["two"].home), "--no-wait")
        assert started.returncode == 0, started.stderr
        wait_for(
            lambda: any(homes.active_at(str(place.home)) for place in places.values()), 180, "not active"
        )
        holder, other = places.values()
        if not homes.active_at(str(holder.home)):
            holder, other = other, holder
        wait_for(lambda: homes.waits_at(str(other.home)), 60, "the other home does not stand by")
        homes.window.begin(homes.market_ms())
        homes.pass_market_time(20)

        killed = time.time()
        for process in processes_of(holder.home):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_for(lambda: homes.active_at(str(other.home)), ACTIVE_S, "the standby does not take over")
        assert time.time() - killed < ACTIVE_S
        done = "status = 'SUCCESS' AND create_timestamp > to_timestamp(%s) AT TIME ZONE 'UTC'"
        wait_for(
            lambda: bool(runs_of(homes.settings.database_url, done, killed)), 90, "no run succeeds any more"
        )
        stack.enter_context(holder.running(*options[holder.home.name]))
        wait_for(lambda: homes.waits_at(str(holder.home)), 120, "the former holder does not stand by")
        assert homes.active_at(str(other.home))
        homes.pass_market_time(20)
        assert homes.wrong() == []
        status = json.loads(livermore("status", "--json", "--home", str(holder.home)).stdout)
        assert [one["daemon"] for one in status["homes"]] == [True, False]
        assert status["exchanges"][homes.exchange]["standbys"][0]["home"].endswith(str(holder.home))
        assert "stands by for" in livermore("status", "--home", str(holder.home)).stdout
        log = json.loads(livermore("network", "log", "--json", "--home", str(other.home)).stdout)
        events = [event["event"] for event in log if event["exchangeName"] == homes.exchange]
        assert [one for one in events if one in ("offline", "taken over", "back")] == [
            "offline", "taken over", "back",
        ]  # fmt: skip
    stored = {number for (number,) in homes.query("SELECT id FROM alert_history")}
    assert set(heard) == stored
    assert all(processes_of(place.home) == [] for place in places.values())
