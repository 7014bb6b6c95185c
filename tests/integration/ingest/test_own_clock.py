"""A machine whose clock is wrong is told of it once, with what that affects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.factory import client_for
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.own_clock import OwnClock
from livermore_dagster.simulator.server import Simulator
from livermore_dagster.stores.redis.client import connect_async


class Wrong(SystemClock):
    """A machine's clock that is set wrong."""

    off_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.off_ms


@dataclass
class Heard:
    """What a status board would tell."""

    known: dict[str, Any] = field(default_factory=dict)
    troubles: list[tuple[IncidentName, str]] = field(default_factory=list)

    def facts(self, **facts: Any) -> None:
        self.known |= facts

    def trouble(self, name: IncidentName, text: str) -> None:
        self.troubles.append((name, text))


@pytest.fixture
async def watched(redis_url: str) -> AsyncIterator[tuple[Wrong, Heard, OwnClock]]:
    clock, heard = Wrong(), Heard()
    redis = connect_async(redis_url)
    async with Simulator(["binance"], seed=3, start_ms=SystemClock().now_ms()) as played:
        row = next(row for row in ROWS if row.name == "binance")
        row = replace(row, rest_url=played.addresses()["binance"]["rest_url"])
        client = client_for(row, redis, clock)
        ctx = SimpleNamespace(row=row, client=client, clock=clock)
        yield clock, heard, OwnClock(cast("ExchangeContext", ctx), cast("StatusBoard", heard))
        await client.close()
    await redis.aclose()


async def look(own: OwnClock) -> int:
    """Until a reply comes soon enough to say something."""
    async with asyncio.timeout(60):
        while (ahead_ms := await own.look()) is None:
            pass
    return ahead_ms


async def test_a_right_clock_is_not_mentioned(watched: tuple[Wrong, Heard, OwnClock]) -> None:
    _, heard, own = watched
    ahead_ms = await look(own)
    assert abs(ahead_ms) < 1_000
    assert heard.known == {"clock_ahead_ms": ahead_ms}
    assert heard.troubles == []


async def test_a_wrong_one_is_told_once_until_it_is_right_again(
    watched: tuple[Wrong, Heard, OwnClock],
) -> None:
    clock, heard, own = watched
    clock.off_ms = -90_000
    await look(own)
    await look(own)
    ((name, text),) = heard.troubles
    assert name is IncidentName.OWN_CLOCK
    assert "s behind binance's" in text
    assert "signed requests" in text
    assert "timedatectl" in text
    clock.off_ms = 0
    await look(own)
    clock.off_ms = 90_000
    await look(own)
    assert len(heard.troubles) == 2
    assert "s ahead of binance's" in heard.troubles[1][1]


async def test_it_asks_nothing_at_the_start(
    watched: tuple[Wrong, Heard, OwnClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, heard, own = watched
    asked: list[tuple[float, bool]] = []

    async def sleep(seconds: float) -> None:
        asked.append((seconds, bool(heard.known)))
        if len(asked) == 2:
            raise asyncio.CancelledError

    monkeypatch.setattr(clock, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await own.watch()
    assert asked == [(60.0, False), (300.0, True)], "first it waits, then it measures"
