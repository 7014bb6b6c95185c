"""Simulated exchanges over real sockets, with market time running or moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from livermore_dagster.simulator.clock import ManualClock
from livermore_dagster.simulator.server import Simulator
from tests.integration.simulator.dialects import Dialect
from tests.integration.simulator.played import MINUTE, PATIENCE_S, START, Played, Socket, stop_limits

__all__ = ["MINUTE", "START", "Played", "Socket"]


@pytest.fixture
async def by_hand() -> AsyncIterator[Played]:
    clock = ManualClock(START)
    async with (
        Simulator(seed=7, clock=clock, symbols=20) as simulator,
        httpx.AsyncClient(timeout=PATIENCE_S) as http,
    ):
        yield Played(simulator, http)


@pytest.fixture
def still_limits(by_hand: Played) -> None:
    stop_limits(by_hand.simulator)


@pytest.fixture(params=["binance", "binance_us", "coinbase"])
def spoken(request: pytest.FixtureRequest) -> Dialect:
    """The exchange a test speaks to."""
    return Dialect(request.param)


@pytest.fixture
async def quick(spoken: Dialect) -> AsyncIterator[Played]:
    """That exchange alone, sending often, so that a test need not wait for real seconds."""
    clock = ManualClock(START)
    async with (
        Simulator([spoken.name], seed=7, clock=clock, symbols=20) as simulator,
        httpx.AsyncClient(timeout=PATIENCE_S) as http,
    ):
        played = Played(simulator, http)
        await played.order(spoken.name, "settings", update_s=0.04, beat_s=0.1)
        yield played


@pytest.fixture
async def at_sixty() -> AsyncIterator[Played]:
    async with (
        Simulator(seed=7, speed=60, start_ms=START, symbols=20) as simulator,
        httpx.AsyncClient(timeout=PATIENCE_S) as http,
    ):
        yield Played(simulator, http)
