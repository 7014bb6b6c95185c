"""Channels and mutes from the shell: what they store, what they refuse, how a test answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from livermore_dagster.accounts.users import ensure_local_admin
from livermore_dagster.notify.painter import Painter
from livermore_dagster.stores.postgres.connect import open_pool
from tests.integration.cli.conftest import Command
from tests.integration.notify.stand_in import TOKEN, StandIn, playing


@pytest.fixture
def ann(filled: None, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home's user."""

    async def add() -> None:
        pool = await open_pool(database_url, None)
        async with pool.connection() as connection:
            await ensure_local_admin(connection, "ann")
        await pool.close()

    asyncio.run(add())
    monkeypatch.setenv("LIVERMORE_USER", "local:ann")


@pytest.fixture
def services() -> Iterator[StandIn]:
    """The stand-in, on a loop of its own: commands run theirs."""
    loop, found, ready = asyncio.new_event_loop(), [], threading.Event()

    async def play() -> None:
        stop = asyncio.Event()
        async with playing() as played:
            found.extend([played, stop])
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(play()))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    loop.call_soon_threadsafe(found[1].set)
    thread.join(60)
    loop.close()


def test_two_commands_bring_the_first_message(
    ann: None, command: Command, services: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_HOOK", services.hook("main"))
    assert command("notify", "add", "main", "--discord", "--url-env", "MY_HOOK").code == 0
    done = command("notify", "test", "--out", str(tmp_path / "chart.png"))
    assert done.code == 0, done.err
    assert "main: sent" in done.out
    (message,) = services.received
    assert message.embed["title"].startswith("TEST · ")
    assert next(iter(message.files.values())) == (tmp_path / "chart.png").read_bytes()
    assert TOKEN not in done.out + done.err


def test_a_test_says_who_refused_and_why(
    ann: None, command: Command, services: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOD", services.hook("good"))
    monkeypatch.setenv("GONE", services.hook("gone", default="404"))
    for name in ("good", "gone"):
        assert command("notify", "add", name, "--discord", "--url-env", name.upper(), "--no-chart").code == 0
    done = command("notify", "test", "--json")
    assert done.code == 1
    outcomes = {one["channel"]: one["outcome"] for one in json.loads(done.out)["channels"]}
    assert outcomes == {"good": "sent", "gone": "refused"}
    assert "there is no such webhook" in done.out
    assert TOKEN not in done.out + done.err


def test_a_channel_that_is_switched_off_is_tried_only_by_name(
    ann: None, command: Command, services: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("main", "spare"):
        monkeypatch.setenv(name.upper(), services.hook(name))
        added = command("notify", "add", name, "--discord", "--url-env", name.upper(), "--no-chart")
        assert added.code == 0, added.err
    for at, tried in ((1, ["main"]), (0, [])):
        assert command("settings", "set", f"alerts.channels.{at}.enabled", "false").code == 0
        done = command("notify", "test")
        assert [one.hook for one in services.received] == tried
        services.received.clear()
    assert (done.code, "switched off: main, spare" in done.err) == (2, True)
    chart = tmp_path / "chart.png"
    done = command("notify", "test", "--out", str(chart))
    assert (done.code, chart.exists(), services.received) == (0, True, []), "a chart needs no channel"
    assert command("notify", "test", "--channel", "spare").code == 0
    assert [one.hook for one in services.received] == ["spare"]


def test_a_chart_that_cannot_be_painted_or_written_keeps_no_channel_from_being_tried(
    ann: None, command: Command, services: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIN", services.hook("main"))
    assert command("notify", "add", "main", "--discord", "--url-env", "MAIN").code == 0
    monkeypatch.setattr(Painter.__init__, "__defaults__", (("/nowhere/at/all",),))
    done = command("notify", "test", "--out", str(tmp_path / "chart.png"))
    assert done.code != 0
    assert "There is no chart to write" in done.err
    assert "could not be started" in done.err
    assert [one.hook for one in services.received] == ["main"]


def test_an_address_in_place_of_a_variable_is_refused_and_not_repeated(ann: None, command: Command) -> None:
    url = f"https://discord.com/api/webhooks/1/{TOKEN}"
    done = command("notify", "add", "main", "--discord", "--url-env", url)
    assert done.code == 2
    assert "not the name of an environment variable" in done.err
    assert TOKEN not in done.out + done.err


def test_channels_that_are_not_there_are_named(ann: None, command: Command) -> None:
    assert command("notify", "test").code == 2
    assert command("notify", "add", "main", "--discord", "--url-env", "MY_HOOK").code == 0
    assert command("notify", "add", "main", "--apprise", "--url-env", "MY_HOOK").code == 2
    done = command("notify", "test", "--channel", "mian")
    assert (done.code, "Channels: main." in done.err) == (2, True)
    assert command("notify", "remove", "main").code == 0
    assert command("notify", "remove", "main").code == 2


def test_status_says_that_no_notifier_works(ann: None, command: Command) -> None:
    done = command("notify", "status")
    assert done.code == 0
    assert "No notifier is at work" in done.out
    assert json.loads(command("notify", "status", "--json").out) == {"notifier": None, "channels": []}


def test_mutes_are_made_shown_and_ended(ann: None, command: Command) -> None:
    assert command("mute", "binance", "BTCUSDT", "--for", "4h").code == 0
    assert command("mute", "any", "--timeframe", "5m").code == 0
    assert command("mute", "coinbase", "BTC-USDC").code == 0
    rows = json.loads(command("mutes", "--json").out)
    assert [(row["exchange"], row["symbol"], row["timeframe"]) for row in rows] == [
        ("binance", "BTCUSDT", None),
        (None, None, "5m"),
        ("coinbase", "BTC-USD", None),
    ]
    assert rows[0]["until_ms"] is not None
    assert command("unmute", "binance", "BTCUSDT").code == 0
    assert command("unmute", "binance", "BTCUSDT").code == 2
    assert command("unmute", "--all").code == 0
    assert "Nothing is muted" in command("mutes").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("binanse",), "Unknown exchange 'binanse'"),
        (("binance", "btc/usdt"), "Did you mean BTCUSDT"),
        (("binance", "-t", "7m"), "Unknown timeframe '7m'"),
        (("binance", "--for", "4 hours"), "is not a span"),
        (("binance", "--until", "2020-01-01"), "has passed"),
        (("binance", "--for", "1h", "--until", "2030-01-01"), "the same thing"),
        (("any",), "would mute everything"),
        ((), "What shall it be?"),
    ],
)
def test_a_mute_that_cannot_be_is_refused_in_words(
    ann: None, command: Command, arguments: tuple[str, ...], said: str
) -> None:
    done = command("mute", *arguments)
    assert (done.code, said in done.err) == (2, True), done.err


@pytest.mark.parametrize("arguments", [(), ("any",)])
def test_ending_a_mute_asks_which(ann: None, command: Command, arguments: tuple[str, ...]) -> None:
    done = command("unmute", *arguments)
    assert (done.code, "Which mute shall end?" in done.err, "--all" in done.err) == (2, True, True)
