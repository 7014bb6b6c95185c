"""An exchange whose server stops and goes on: what piled up meanwhile must not exceed its limit."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys

import httpx
import redis.asyncio

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.exchanges.factory import client_for, row_named

SIMULATOR = """
import asyncio
from livermore_dagster.simulator.server import Simulator
async def main():
    async with Simulator(["coinbase"], seed=1, symbols=20) as simulator:
        simulator.exchanges["coinbase"].change({"rate": 10, "burst": 10})
        print(simulator.rest_url("coinbase"), flush=True)
        await asyncio.Future()
asyncio.run(main())
"""


async def test_a_server_that_stalls_is_not_overrun(redis_url: str) -> None:
    """Ten a second and no burst beyond, the server frozen twice, two clients: no 429."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SIMULATOR, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        url = (await asyncio.wait_for(server.stdout.readline(), 120)).decode().strip()
        connected = redis.asyncio.from_url(redis_url, decode_responses=True)
        row = dataclasses.replace(row_named("coinbase"), rest_url=url)
        clients = [client_for(row, connected, SystemClock()) for _ in range(2)]
        asked = asyncio.gather(*(clients[n % 2].server_time(Priority.WARMUP) for n in range(36)))
        for before, frozen in ((0.5, 0.9), (0.7, 0.4)):
            await asyncio.sleep(before)
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(frozen)
            os.kill(server.pid, signal.SIGCONT)
        assert len(await asyncio.wait_for(asked, 120)) == 36
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            counters = (await http.get(f"{url}/control/counters")).json()
        assert (counters["requests"], counters["http_429"]) == (36, 0)
        for client in clients:
            await client.close()
        await connected.aclose()
    finally:
        server.kill()
        await server.wait()
