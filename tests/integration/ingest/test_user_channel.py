"""Accounts' own channels beside the candles: what they tell, and whose trouble a bad key is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from livermore_dagster.exchanges.connection import ConnectionLost, open_socket
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest import user_channel
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import open_context
from livermore_dagster.ingest.user_channel import UserChannels
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.account_events import AccountEvent, append_event, read_events
from tests.integration.ingest.played import IDS, Platform, played
from tests.integration.trades.accounts import create, environment, place, register

START_MS = 1_767_655_800_000
COINBASE = IDS["coinbase"]


class Told:
    """The part of a status board that channels use."""

    def __init__(self) -> None:
        self.troubles: list[tuple[IncidentName, str]] = []
        self.limited: list[int] = []

    def trouble(self, name: IncidentName, text: str, *, error: bool = False) -> None:
        self.troubles.append((name, text))

    def on_limited(self, channel: str, status: int, reason: str) -> None:
        self.limited.append(status)


@pytest.fixture
def market(redis_url: str, database_url: str):
    with played(redis_url, database_url, ["coinbase"], 1.0, START_MS) as platform:
        yield platform


@asynccontextmanager
async def kept(platform: Platform) -> AsyncIterator[Told]:
    told = Told()
    async with open_context("coinbase", platform) as ctx:
        task = asyncio.create_task(UserChannels(ctx, cast("StatusBoard", told), told.on_limited).run())
        try:
            yield told
            assert not task.done(), "an account's trouble ends nothing"
        finally:
            task.cancel()
            await asyncio.wait({task})


async def until(holds: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 (another process does it)
            await asyncio.sleep(0.05)
    assert holds(), what


def channel(platform: Platform, account: int) -> dict[str, Any]:
    with platform.redis() as client:
        text = client.hget(keys.account_channels(COINBASE), f"coinbase.{account}")
    return json.loads(text) if text else {"state": "", "reason": ""}


def kinds(platform: Platform) -> list[str]:
    with platform.redis() as client:
        return [event.kind for event in read_events(client, {COINBASE: "0"}, 0, 100)]


def test_a_channel_tells_of_fills(market: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = create(market, "coinbase", "trader", orders=20, symbols=2, days=9)
    for name, value in environment("coinbase", shown).items():
        monkeypatch.setenv(name, value)
    account = register(market, "coinbase")

    async def watch() -> None:
        async with kept(market) as told:
            await until(lambda: channel(market, account)["state"] == "open", "not open")
            assert kinds(market) == ["resumed"]
            order = {"account": "trader", "symbol": "BTC-USD", "side": "BUY", "size": "0.001"}
            await asyncio.to_thread(lambda: place(market, "coinbase", **order))
            await until(lambda: "fill" in kinds(market) or "order" in kinds(market), "nothing told")
            assert told.troubles == []

    asyncio.run(watch())
    with market.redis() as client:
        last = read_events(client, {COINBASE: "0"}, 0, 100)[-1]
    assert (last.account_id, last.symbol) == (account, "BTC-USD")


def test_a_channel_keeps_away_with_the_connections_and_tells_its_own_refusal(
    market: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second refusal is the channel's first attempt: after the other one's time, and counted."""
    shown = create(market, "coinbase", "trader", orders=1, symbols=1, days=9)
    for name, value in environment("coinbase", shown).items():
        monkeypatch.setenv(name, value)
    account = register(market, "coinbase")
    market.fault("coinbase", kind="refuse_connection", status=429, retry_after_s=1, count=2)

    async def watch() -> None:
        begun = time.monotonic()
        async with open_context("coinbase", market) as ctx:
            with pytest.raises(ConnectionLost):
                await ctx.gate.open(lambda: open_socket(ctx.row.ws_url))
        async with kept(market) as told:
            await until(lambda: channel(market, account)["state"] == "open", "not open")
            assert time.monotonic() - begun >= 2.0
            assert (told.limited, told.troubles) == ([429], [])

    asyncio.run(watch())
    assert market.ask("coinbase", "counters")["ws_refused"] == 2


def test_a_missing_variable_and_a_refused_key_are_told_and_mended_by_adding_anew(
    market: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = create(market, "coinbase", "trader", orders=20, symbols=2, days=9)
    variables = environment("coinbase", shown)
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    account = register(market, "coinbase")

    async def add_anew() -> None:
        async with open_context("coinbase", market) as ctx:
            await append_event(ctx.redis, AccountEvent(COINBASE, account, "added", 1))

    async def watch() -> None:
        async with kept(market) as told:
            await until(lambda: channel(market, account)["state"] == "refused", "not told")
            assert "TEST_COINBASE_KEY is not set" in channel(market, account)["reason"]
            other = create(market, "coinbase", "other", orders=1, symbols=1, days=9)
            wrong = {
                **variables,
                "TEST_COINBASE_SECRET": environment("coinbase", other)["TEST_COINBASE_SECRET"],
            }
            for name, value in wrong.items():
                monkeypatch.setenv(name, value)
            await add_anew()
            await until(lambda: len(told.troubles) == 2, "the refused key is not told")
            assert "does not accept" in told.troubles[1][1]
            assert {name for name, _ in told.troubles} == {IncidentName.ACCOUNT_REFUSED}
            assert all(shown["key"] not in text for _, text in told.troubles)
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            await add_anew()
            await until(lambda: channel(market, account)["state"] == "open", "not open in the end")

    asyncio.run(watch())


def test_a_channel_that_fails_in_a_way_nobody_foresaw_is_told_and_opened_again(
    market: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = create(market, "coinbase", "trader", orders=20, symbols=2, days=9)
    for name, value in environment("coinbase", shown).items():
        monkeypatch.setenv(name, value)
    account = register(market, "coinbase")
    opened, failures = user_channel.user_stream_for, [KeyError(shown["key"])]

    def fails_once(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return opened(*arguments)

    monkeypatch.setattr(user_channel, "user_stream_for", fails_once)
    monkeypatch.setattr(user_channel, "_FIRST_DELAY_S", 0.2)

    async def watch() -> None:
        async with kept(market) as told:
            await until(lambda: channel(market, account)["state"] == "open", "not opened again")
            assert [(name, "KeyError" in text) for name, text in told.troubles] == [
                (IncidentName.ACCOUNT_REFUSED, True)
            ]
            assert shown["key"] not in told.troubles[0][1]

    asyncio.run(watch())
