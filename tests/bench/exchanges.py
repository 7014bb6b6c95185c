"""Speed of the exchange adapters: `python -m tests.bench.exchanges [--json]`.

Prints frames a second: decoding alone (canonical text included), against the plain way (json and Decimal) in
the same run, and through a Connection over a real loopback socket.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.binance import BinanceDialect
from livermore_dagster.exchanges.coinbase import CoinbaseDialect
from livermore_dagster.exchanges.connection import Connection
from livermore_dagster.exchanges.factory import dialect_for
from livermore_dagster.exchanges.rows import BINANCE, COINBASE
from livermore_dagster.market.timeframe import Timeframe

FRAMES = 20_000
SOCKET_FRAMES = 100_000
SERVER = """
import asyncio, sys
from websockets.asyncio.server import serve
from websockets.frames import Frame, Opcode
from tests.bench.exchanges import KLINE, SOCKET_FRAMES, frames_of
async def talk(socket):
    await socket.recv()
    frames = frames_of(KLINE, SOCKET_FRAMES)
    data = b"".join(Frame(Opcode.TEXT, frame).serialize(mask=False) for frame in frames)
    for at in range(0, len(data), 65536):
        socket.transport.write(data[at:at + 65536])
        await asyncio.sleep(0)
    await socket.wait_closed()
async def main():
    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
"""


KLINE = (
    '{"e":"kline","E":EVENT,"s":"AUSDT","k":{"t":1767655800000,"T":1767655859999,"s":"AUSDT","i":"1m",'
    '"f":100,"L":200,"o":"0.00100000","c":"CLOSE","h":"0.00250000","l":"0.00150000","v":"VOLUME","n":9,'
    '"x":false,"q":"1.00000000","V":"500.00000000","Q":"0.50000000","B":"0"}}'
)
CANDLES = (
    '{"channel":"candles","client_id":"","timestamp":"2026-01-05T23:30:01.39625135Z","sequence_num":EVENT,'
    '"events":[{"type":"update","candles":[{"start":"1767655800","high":"2.50","low":"1.50",'
    '"open":"2.00","close":"CLOSE","volume":"VOLUME","product_id":"BTC-USD"}]}]}'
)


def frames_of(pattern: str, count: int) -> list[bytes]:
    """Frames of one running candle: open, high and low repeat, close and volume change."""
    draw = random.Random(1)
    return [
        pattern.replace("EVENT", str(n))
        .replace("CLOSE", f"{draw.uniform(1, 2):.8f}")
        .replace("VOLUME", f"{draw.uniform(1, 2000):.8f}")
        .encode()
        for n in range(count)
    ]


def market_frames(count: int, symbols: int = 500) -> list[bytes]:
    """Kline frames as Binance sends them: many symbols in turn, prices on their ticks, volumes that grow.

    Numbers carry eight decimals, whatever the tick, and no two frames are alike.
    """
    draw = random.Random(1)
    running = [_Running(draw, index) for index in range(symbols)]
    return [running[n % symbols].frame(draw, n).encode() for n in range(count)]


class _Running:
    """One symbol's candle of the minute."""

    def __init__(self, draw: random.Random, index: int) -> None:
        self.symbol = f"A{index}USDT"
        self.decimals = draw.choice((2, 3, 4, 5, 7))
        self.open = self.high = self.low = self.close = draw.randrange(1_000, 9_000_000)
        self.lots = 0
        self.trades = 0

    def frame(self, draw: random.Random, event: int) -> str:
        self.close = max(1, self.close + draw.choice((-2, -1, -1, 0, 0, 1, 1, 2)))
        self.high, self.low = max(self.high, self.close), min(self.low, self.close)
        self.lots += draw.randrange(1, 5_000_000)
        self.trades += draw.randrange(1, 9)
        o, h, l, c = (  # noqa: E741 - as candles are written
            f"{price / 10**self.decimals:.8f}" for price in (self.open, self.high, self.low, self.close)
        )
        volume = f"{self.lots / 100_000:.8f}"
        return (
            f'{{"e":"kline","E":{1767655800000 + event},"s":"{self.symbol}","k":{{"t":1767655800000,'
            f'"T":1767655859999,"s":"{self.symbol}","i":"1m","f":100,"L":{100 + self.trades},"o":"{o}",'
            f'"c":"{c}","h":"{h}","l":"{l}","v":"{volume}","n":{self.trades},"x":false,"q":"{self.lots:.8f}",'
            f'"V":"{volume}","Q":"{self.lots / 2:.8f}","B":"0"}}}}'
        )


def plain_kline(frame: bytes) -> tuple[object, ...]:
    """What a straightforward handler does: json, then Decimal for each number."""
    message = json.loads(frame)
    k = message["k"]
    numbers = tuple(str(Decimal(k[name]).normalize()) for name in ("o", "h", "l", "c", "v"))
    return (message["s"], k["i"], k["t"], *numbers, k["x"], message["E"], k["n"])


def per_second(work: Callable[[bytes], object], frames: Sequence[bytes], rounds: int = 5) -> float:
    speeds = []
    for _ in range(rounds):
        began = time.perf_counter()
        for frame in frames:
            work(frame)
        speeds.append(len(frames) / (time.perf_counter() - began))
    return statistics.median(speeds)


async def through_a_socket(port: int) -> float:
    row = dataclasses.replace(BINANCE, ws_url=f"ws://127.0.0.1:{port}")
    seen, began = 0, 0.0
    connection = Connection(row, dialect_for(row), ["AUSDT"], (Timeframe.M1,), SystemClock(), "bench")
    async with connection:
        async for events in connection:
            began = began or time.perf_counter()
            seen += len(events)
            if seen >= SOCKET_FRAMES:
                break
    return seen / (time.perf_counter() - began)


def measure() -> dict[str, float]:
    """Frames a second by way."""
    frames = frames_of(KLINE, FRAMES)
    found = {
        "binance_kline": per_second(BinanceDialect(BINANCE).decoder().decode, frames),
        "plain_kline": per_second(plain_kline, frames),
        "coinbase_candles": per_second(
            CoinbaseDialect(COINBASE).decoder().decode, frames_of(CANDLES, FRAMES)
        ),
    }
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found["through_a_socket"] = asyncio.run(through_a_socket(int(server.stdout.readline())))
    finally:
        server.kill()
        server.wait()
    found["kline_against_plain"] = found["binance_kline"] / found["plain_kline"]
    return {name: round(value, 1) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    found = measure()
    if parser.parse_args().json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for name, value in found.items():
        sys.stdout.write(f"{name:22} {value:>12,.1f}\n")


if __name__ == "__main__":
    main()
