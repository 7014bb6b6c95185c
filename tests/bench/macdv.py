"""Speed of MACD-V: `python -m tests.bench.macdv [--json]`. Processor time, medians.

A step, and 100,000 bars at once against the same by TA-Lib (C) and by `ta` (pandas) in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import talib
from ta.trend import ema_indicator
from ta.volatility import average_true_range

from livermore_dagster.market.macdv import State, batch, fold
from livermore_dagster.market.timeframe import Timeframe

BARS = 100_000
STEPS = 20_000


def median_s(work: Callable[[], object], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return statistics.median(took)


def measure() -> dict[str, float]:
    """Milliseconds for BARS, microseconds for a step."""
    draw = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.002, BARS)))
    high, low = close * (1 + draw.random(BARS) / 500), close * (1 - draw.random(BARS) / 500)
    volume, opens = np.ones(BARS), np.arange(BARS) * Timeframe.M1.ms
    holes = draw.random(BARS) > 0.05

    def by_talib() -> None:
        values = 100 * (talib.EMA(close, 12) - talib.EMA(close, 26)) / talib.ATR(high, low, close, 26)
        talib.EMA(values[26:], 9)

    def by_ta() -> None:
        columns = [pd.Series(values) for values in (high, low, close)]
        fast, slow = ema_indicator(columns[2], 12), ema_indicator(columns[2], 26)
        ema_indicator(100 * (fast - slow) / average_true_range(*columns, 26), 9)

    def steps() -> None:
        state: State | None = None
        for row in rows:
            state, _ = fold(state, Timeframe.M1.ms, *row)

    columns = (opens, high, low, close, volume)
    rows = list(zip(*(column[:STEPS].tolist() for column in columns), strict=True))
    with_holes = [column[holes] for column in columns]
    by_talib()
    batch(*columns, Timeframe.M1)
    return {
        "step_us": median_s(steps, 7) / STEPS * 1e6,
        "batch_ms": median_s(lambda: batch(*columns, Timeframe.M1), 41) * 1e3,
        "batch_with_gaps_ms": median_s(lambda: batch(*with_holes, Timeframe.M1), 21) * 1e3,
        "talib_ms": median_s(by_talib, 41) * 1e3,
        "ta_ms": median_s(by_ta, 3) * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    as_json = parser.parse_args().json
    found = measure()
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.writelines(f"{name:22} {value:12,.3f}\n" for name, value in found.items())


if __name__ == "__main__":
    main()
