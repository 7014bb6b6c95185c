"""What the platform's speeds are compared with: the plain ways, and other projects' readers."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from livermore_dagster.exchanges.binance import BinanceDialect
from livermore_dagster.exchanges.rows import BINANCE
from tests.bench.exchanges import market_frames, plain_kline
from tests.bench.stores import postgres, series

ROOT = Path(__file__).parents[2]
OTHERS = ROOT / ".venv-bench" / "bin" / "python"
FRAMES = 5_000
"""Few enough to stay in the processor's cache, as one does that was just read from a socket."""
ROUNDS = 12


class _Values(msgspec.Struct, gc=False):
    """A kline as it is on the wire, all of it."""

    t: int
    T: int
    s: str
    i: str
    f: int
    L: int
    o: str
    c: str
    h: str
    l: str  # noqa: E741 - the exchange's name
    v: str
    n: int
    x: bool
    q: str
    V: str
    Q: str
    B: str


class _Kline(msgspec.Struct, gc=False):
    e: str
    E: int
    s: str
    k: _Values


def kline_readers() -> dict[str, Any]:
    """Frames a second of processor time: ours, plain json and Decimal, cryptofeed and ccxt if installed.

    `json`: msgspec's typed decoding alone, which no reader in Python gets below. The others are measured
    between two halves of ours: a machine that slows down slows all of them.
    """
    frames = market_frames(FRAMES)
    ways: dict[str, Callable[[bytes], object]] = {
        "ours": BinanceDialect(BINANCE).decoder().decode,
        "json": msgspec.json.Decoder(_Kline).decode,
        "plain": plain_kline,
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for half in range(2):
        for _ in range(ROUNDS):
            for name, work in ways.items():
                began = time.process_time()
                for frame in frames:
                    work(frame)
                speeds[name].append(FRAMES / (time.process_time() - began))
        if half == 0 and OTHERS.exists():
            script = Path(__file__).with_name("other_readers.py")
            reply = subprocess.run(
                [OTHERS, script], input=b"\n".join(frames), capture_output=True, check=True, timeout=120
            )
            found |= json.loads(reply.stdout.splitlines()[-1])
    return found | {name: statistics.median(rounds) for name, rounds in speeds.items()}


def naive_copy() -> float:
    """Candles a second by COPY straight into a table like ours, row by row: no rule, no repetition."""
    batches = [series(random.Random(symbol), f"S{symbol}USDT", 10_000) for symbol in range(10)]
    with postgres() as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE naive (LIKE candles INCLUDING ALL)")
        connection.commit()
        began = time.perf_counter()
        for batch in batches:
            with connection.cursor().copy("COPY naive FROM STDIN") as copy:
                for one in batch:
                    c = one.candle
                    numbers = (Decimal(value) for value in (c.open, c.high, c.low, c.close, c.volume))
                    copy.write_row(
                        (2, one.symbol, one.timeframe.value, c.open_ms, *numbers, one.trades, 1, one.stamp_ms)
                    )
            connection.commit()
        return sum(map(len, batches)) / (time.perf_counter() - began)


def help_seconds(command: Path) -> float:
    """Wall seconds of `livermore --help`, the fastest of five: the rest is the machine's other work."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([command, "--help"], capture_output=True, check=True)
        took.append(time.perf_counter() - began)
    return min(took)
