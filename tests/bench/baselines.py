"""What the platform's speeds are compared with: the plain ways, and other projects' readers."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from livermore_dagster.exchanges.binance import BinanceDialect
from livermore_dagster.exchanges.rows import BINANCE
from tests.bench.exchanges import KLINE, frames_of, plain_kline
from tests.bench.stores import postgres, series

ROOT = Path(__file__).parents[2]
OTHERS = ROOT / ".venv-bench" / "bin" / "python"
FRAMES = 20_000
ROUNDS = 7


def kline_readers() -> dict[str, Any]:
    """Frames a second of processor time: ours, plain json and Decimal, cryptofeed and ccxt if installed."""
    frames = frames_of(KLINE, FRAMES)
    ways = {"ours": BinanceDialect(BINANCE).decoder().decode, "plain": plain_kline}
    found: dict[str, Any] = {}
    for name, work in ways.items():
        speeds = []
        for _ in range(ROUNDS):
            began = time.process_time()
            for frame in frames:
                work(frame)
            speeds.append(FRAMES / (time.process_time() - began))
        found[name] = statistics.median(speeds)
    if OTHERS.exists():
        script = Path(__file__).with_name("other_readers.py")
        reply = subprocess.run(
            [OTHERS, script], input=b"\n".join(frames), capture_output=True, check=True, timeout=120
        )
        found |= json.loads(reply.stdout.splitlines()[-1])
    return found


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
