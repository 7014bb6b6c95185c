"""From frame to cached candle on real sockets and a real Valkey: `python -m tests.bench.pipeline [--json]`.

A process of its own sends 1m klines of 1,000 symbols over as many connections as the live service opens; here
they go the live service's way: connections, decoder, closer, sink, Lua.

The sink keeps only the newest of a candle that is still open. So there are two figures: every update cached
(the next 1,000 are sent when the last 1,000 are in the cache), and frames sent as fast as they are read.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import dataclasses
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.connection import Connection
from livermore_dagster.exchanges.factory import dialect_for
from livermore_dagster.exchanges.rows import BINANCE
from livermore_dagster.ingest.boundary_raiser import BoundaryRaiser
from livermore_dagster.ingest.candle_sink import CandleSink
from livermore_dagster.ingest.connections import ConnectionHub, Wiring
from livermore_dagster.ingest.meter import Meter
from livermore_dagster.ingest.pipeline import Pipeline
from livermore_dagster.ingest.repair import RepairReport
from livermore_dagster.ingest.tickers import TickerSink
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.closing import Closer
from livermore_dagster.market.exchange_clock import ExchangeClock
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CandleCache, WriteResult
from livermore_dagster.stores.redis.client import connect_async
from tests.bench.stores import valkey

SYMBOLS = 1_000
ROUNDS = 200
"""Frames of each symbol; every twentieth closes its candle."""
A_MINUTE = 20
BEGIN = 1_767_225_600_000
SENDER = (
    "import asyncio, sys; from tests.bench.pipeline import send; asyncio.run(send(sys.argv[1] == 'stepwise'))"
)


def kline(symbol: str, turn: int) -> str:
    open_ms = BEGIN + turn // A_MINUTE * 60_000
    step = turn % A_MINUTE
    closed = step == A_MINUTE - 1
    event_ms = open_ms + (60_000 + turn % 9 if closed else 3_000 * step + 100)
    return (
        f'{{"e":"kline","E":{event_ms},"s":"{symbol}","k":{{"t":{open_ms},"T":{open_ms + 59_999},'
        f'"s":"{symbol}","i":"1m","f":100,"L":200,"o":"2.00100000","c":"2.00{step:02d}0000","h":"2.10000000",'
        f'"l":"1.90000000","v":"{100 + step}.{turn:03d}00000","n":{step + 1},"x":{str(closed).lower()},'
        f'"q":"1.00000000","V":"500.00000000","Q":"0.50000000","B":"0"}}}}'
    )


async def send(stepwise: bool) -> None:
    """The exchange: waits until every symbol is subscribed, then sends as fast as it is read; `stepwise` a
    round for each line on standard input."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.frames import Frame, Opcode

    subscribed, everyone = 0, asyncio.Event()
    turns = [asyncio.Event() for _ in range(ROUNDS)]
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for turn, _ in zip(turns[1:] if stepwise else turns, sys.stdin, strict=False):
            loop.call_soon_threadsafe(turn.set)

    threading.Thread(target=listen, daemon=True).start()
    for turn in turns[:1] if stepwise else turns:
        turn.set()

    async def talk(socket: ServerConnection) -> None:
        nonlocal subscribed
        mine: list[str] = []
        asking = asyncio.create_task(everyone.wait())
        while not everyone.is_set():
            reading = asyncio.create_task(socket.recv())
            await asyncio.wait({asking, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                break
            message = json.loads(reading.result())
            mine += [name.split("@")[0].upper() for name in message["params"] if "@kline" in name]
            await socket.send(json.dumps({"result": None, "id": message["id"]}))
            subscribed += sum("@kline" in name for name in message["params"])
            if subscribed == SYMBOLS:
                everyone.set()
        for turn in range(ROUNDS):
            # Made before its turn: what the sender takes is not what is measured.
            frames = (Frame(Opcode.TEXT, kline(symbol, turn).encode()) for symbol in mine)
            data = b"".join(frame.serialize(mask=False) for frame in frames)
            await turns[turn].wait()
            socket.transport.write(data)
            await socket.drain()
            await asyncio.sleep(0)
        await socket.wait_closed()

    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await loop.create_future()


class CountingCache(CandleCache):
    written = 0

    async def write(self, batch: Sequence[StampedCandle], wall_ms: int) -> list[WriteResult]:
        self.written += len(batch)
        return await super().write(batch, wall_ms)


class Line:
    """The live service's way from socket to cache, and when it began and was through."""

    def __init__(self, url: str, port: int, next_round: Callable[[], object] | None) -> None:
        clock, exchange_clock = SystemClock(), ExchangeClock()
        row = dataclasses.replace(BINANCE, ws_url=f"ws://127.0.0.1:{port}")
        dialect = dialect_for(row)
        self.symbols = [f"S{n}USDT" for n in range(SYMBOLS)]
        self.client = connect_async(url)
        self.cache = CountingCache(self.client, row.id, exchange_name=row.name)
        closer = Closer(self.symbols, (Timeframe.M1,), flagged=True, grace_ms=dialect.quirks.grace_ms)
        self.meter = Meter(row.id, closer, exchange_clock, RepairReport())
        self.sink = CandleSink(self.cache, _Nowhere(), row.id, clock, self.meter.closed)
        raiser = BoundaryRaiser(
            self.client, row, clock, grace_ms=1_500, by="bench", settled=lambda _: ([], []),
            fetch=_nothing, on_fallback=lambda *_: None, on_failure=_nothing,
        )  # fmt: skip
        self.pipeline = _Timed(
            closer, exchange_clock, clock, self.sink, TickerSink(_nothing, clock), raiser, _Nowhere(),
            self.meter, on_trouble=lambda *_: None, on_renew=lambda _: None,
        )  # type: ignore[arg-type]  # fmt: skip
        self.next_round = next_round
        wiring = Wiring(
            dialect.quirks,
            lambda symbols, name: Connection(row, dialect, symbols, (Timeframe.M1,), clock, name),
            self.pipeline, clock, lambda: None,
        )  # fmt: skip
        self.hub = ConnectionHub("binance", self.symbols, wiring)

    async def run(self) -> dict[str, float]:
        tasks = [
            asyncio.create_task(work) for work in (self.sink.run(), *(one.run() for one in self.hub.lines))
        ]
        for turn in range(ROUNDS):
            await self.pipeline.reached((turn + 1) * SYMBOLS)
            if self.next_round:
                await self.sink.drained()
                self.next_round()
        await self.sink.drained()
        took = time.perf_counter() - self.pipeline.began
        cpu = time.process_time() - self.pipeline.cpu
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        found = await self.client.hget(keys.counters(BINANCE.id), "closes")
        await self.client.aclose()
        frames = SYMBOLS * ROUNDS
        if int(found or 0) != frames // A_MINUTE:
            raise RuntimeError(f"{found} closes reached the cache, not {frames // A_MINUTE}")
        return {
            "frames_per_s": frames / took,
            "frames_per_cpu_s": frames / cpu,
            "cached_per_s": self.cache.written / took,
            "conflated_share": 1 - self.cache.written / frames,
        }


class _Timed(Pipeline):
    began = 0.0
    cpu = 0.0
    frames = 0

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)  # type: ignore[arg-type]
        self._more = asyncio.Event()

    async def reached(self, frames: int) -> None:
        while self.frames < frames:
            self._more.clear()
            await self._more.wait()

    def on_events(self, connection: str, events: Sequence[object]) -> None:
        candles = sum(type(event).__name__ == "CandleFrame" for event in events)
        if candles and not self.began:
            self.began, self.cpu = time.perf_counter(), time.process_time()
        super().on_events(connection, events)  # type: ignore[arg-type]
        self.frames += candles
        self._more.set()


class _Nowhere:
    def put(self, _questions: object) -> None: ...

    async def upsert(self, _exchange_id: int, _batch: object) -> None: ...


async def _nothing(*_: object) -> None: ...


def _measure(mode: str, profile: str | None = None) -> dict[str, float]:
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    try:
        assert sender.stdout is not None
        assert sender.stdin is not None
        said = sender.stdin
        port = int(sender.stdout.readline())

        async def run() -> dict[str, float]:
            with valkey() as url:
                return await Line(url, port, (lambda: said.write("\n")) if mode == "stepwise" else None).run()

        if profile:
            with cProfile.Profile() as profiler:
                found = asyncio.run(run())
            profiler.dump_stats(profile)
            return found
        return asyncio.run(run())
    finally:
        sender.kill()
        sender.wait()


def measure(profile: str | None = None) -> dict[str, float]:
    every, flood = _measure("stepwise", profile), _measure("flood")
    return {
        "updates_cached_per_s": every["cached_per_s"],
        "updates_cached_per_cpu_s": every["frames_per_cpu_s"],
        "flood_frames_per_s": flood["frames_per_s"],
        "flood_conflated_share": flood["conflated_share"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--profile", help="write a profile of the receiving process to this file")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found = measure(given.profile)
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.writelines(f"{name:22} {value:12,.2f}\n" for name, value in found.items())


if __name__ == "__main__":
    main()
