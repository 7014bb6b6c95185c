"""Our clients against the simulated exchanges, over real sockets and a real Valkey."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import httpx
import pytest
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.budget import Budget
from livermore_dagster.exchanges.client import ExchangeClient
from livermore_dagster.exchanges.connection import Connection
from livermore_dagster.exchanges.factory import client_for, dialect_for, row_named
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.simulator.clock import ManualClock
from livermore_dagster.simulator.server import Simulator

START = 1_767_655_800_000  # 2026-01-05T23:30:00Z


class Field:
    """A simulator and what is needed to meet it."""

    def __init__(self, simulator: Simulator, redis: redis.asyncio.Redis, http: httpx.AsyncClient) -> None:
        self.simulator, self.redis, self._http = simulator, redis, http
        self.clock = SystemClock()

    def row(self, name: str) -> ExchangeRow:
        return dataclasses.replace(
            row_named(name), rest_url=self.simulator.rest_url(name), ws_url=self.simulator.ws_url(name)
        )

    def client(self, name: str, budget: Budget | None = None) -> ExchangeClient:
        return client_for(self.row(name), self.redis, self.clock, budget=budget)

    def connection(
        self, name: str, symbols: list[str], timeframes: tuple[Timeframe, ...], patience_s: float = 10.0
    ) -> Connection:
        row = self.row(name)
        return Connection(
            row, dialect_for(row), symbols, timeframes, self.clock, name, ack_patience_s=patience_s
        )

    async def control(self, name: str, path: str, **query: object) -> dict[str, object]:
        reply = await self._http.get(f"{self.simulator.control_url(name)}/{path}", params=query)
        return reply.raise_for_status().json()

    async def order(self, name: str, path: str = "faults", **body: object) -> dict[str, object]:
        reply = await self._http.post(f"{self.simulator.control_url(name)}/{path}", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture
async def connected(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def still(connected: redis.asyncio.Redis) -> AsyncIterator[Field]:
    """Market time stands still at START."""
    async with (
        Simulator(seed=7, clock=ManualClock(START), symbols=20) as simulator,
        httpx.AsyncClient(timeout=60) as http,
    ):
        yield Field(simulator, connected, http)


@pytest.fixture
async def at_sixty(connected: redis.asyncio.Redis) -> AsyncIterator[Field]:
    """Market time runs sixty times as fast."""
    async with (
        Simulator(seed=7, speed=60, start_ms=START, symbols=20) as simulator,
        httpx.AsyncClient(timeout=60) as http,
    ):
        yield Field(simulator, connected, http)


@pytest.fixture
async def alone(connected: redis.asyncio.Redis, name: str) -> AsyncIterator[Field]:
    """The named exchange only; market time stands alone."""
    async with (
        Simulator([name], seed=7, clock=ManualClock(START), symbols=20) as simulator,
        httpx.AsyncClient(timeout=60) as http,
    ):
        yield Field(simulator, connected, http)
