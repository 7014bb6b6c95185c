"""A simulator with a client at hand, and a socket that keeps what it was sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets

from livermore_dagster.simulator.binance_rest import BinanceRest
from livermore_dagster.simulator.clock import ManualClock
from livermore_dagster.simulator.coinbase_rest import CoinbaseRest
from livermore_dagster.simulator.server import Simulator

START = 1_767_655_800_000  # 2026-01-05T23:30:00Z
MINUTE = 60_000
PATIENCE_S = 60.0
"""For an answer of a machine that is busy with others."""


def stop_limits(simulator: Simulator) -> None:
    """What is spent of the limits on all, which run by the machine's clock, comes back no more."""
    at_s = time.time() // 60 * 60 + 10
    for exchange in simulator.exchanges.values():
        rest = exchange.rest
        if isinstance(rest, BinanceRest):
            rest.window._now = lambda: at_s
        elif isinstance(rest, CoinbaseRest):
            rest.bucket._now = lambda bucket=rest.bucket: bucket._at


class Played:
    """A simulator with a client at hand."""

    def __init__(self, simulator: Simulator, http: httpx.AsyncClient) -> None:
        self.simulator, self.http = simulator, http

    def advance(self, milliseconds: int) -> None:
        assert isinstance(self.simulator.clock, ManualClock)
        self.simulator.clock.advance(milliseconds)

    def now(self) -> int:
        return self.simulator.clock.now_ms()

    async def get(self, name: str, path: str, **query: Any) -> httpx.Response:
        return await self.http.get(self.simulator.rest_url(name) + path, params=query)

    async def control(self, name: str, path: str, **query: Any) -> Any:
        reply = await self.get(name, f"/control/{path}", **query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def order(self, name: str, path: str = "faults", **body: Any) -> Any:
        reply = await self.http.post(f"{self.simulator.control_url(name)}/{path}", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def truth(
        self, name: str, symbol: str, timeframe: str, start: int, end: int
    ) -> list[dict[str, Any]]:
        reply = await self.control(name, "truth", symbol=symbol, timeframe=timeframe, start=start, end=end)
        candles: list[dict[str, Any]] = reply["candles"]
        return candles

    @asynccontextmanager
    async def socket(self, name: str, path: str = "") -> AsyncIterator[Socket]:
        async with websockets.connect(
            self.simulator.ws_url(name) + path, open_timeout=PATIENCE_S
        ) as connection:
            yield Socket(connection)


class Socket:
    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.frames: list[Any] = []

    async def say(self, message: Any) -> None:
        await self.connection.send(message if isinstance(message, str) else json.dumps(message))

    async def until(self, wanted: Callable[[Any], object], seconds: float = PATIENCE_S) -> Any:
        """The first frame from here on that is wanted; all frames are kept."""
        async with asyncio.timeout(seconds):
            while True:
                frame = json.loads(await self.connection.recv())
                self.frames.append(frame)
                if wanted(frame):
                    return frame
