"""The live service against exchanges played in a process of their own: `python -m tests.bench.live [--json]`.

Warm-up and backfill against the request limit alone; the lag of closes where no flag is sent, in real time;
what 500 symbols × 3 timeframes cost the ingest process, in real time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import structlog

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.rows import COINBASE
from livermore_dagster.ingest.backfill import backfill
from livermore_dagster.ingest.context import ExchangeContext, open_context
from livermore_dagster.ingest.warmup import WARMUP_BARS, warm_up
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.metrics import LatencyHistogram
from tests.bench.stores import postgres, valkey
from tests.integration.ingest.played import Platform, played, until

NOON = 1_767_700_800_000
"""2026-01-06T12:00:00Z."""
WARM_SYMBOLS = 20
HISTORY_DAYS = 4
LAG_SYMBOLS = 100
MANY = 500
THREE = (Timeframe.M1, Timeframe.M5, Timeframe.M15)
WATCHED_S = 75.0


@contextmanager
def servers() -> Iterator[tuple[str, str]]:
    with valkey() as redis_url, postgres() as database_url:
        yield redis_url, database_url


@contextmanager
def service(platform: Platform, exchange: str) -> Iterator[psutil.Process]:
    """`python -m livermore_dagster.ingest`, the service without Dagster around it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "livermore_dagster.ingest", exchange],
        env=platform.environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)


# --- warm-up and backfill ---------------------------------------------------------------------------------
def fetching() -> dict[str, float]:
    """Seconds of a warm-up and of a backfill against those that their requests take at the limit."""
    with (
        servers() as (redis_url, database_url),
        played(redis_url, database_url, ["coinbase"], 1.0, NOON) as market,
    ):
        return asyncio.run(_fetching(market))


async def _fetching(market: Platform) -> dict[str, float]:
    found: dict[str, float] = {}
    symbols = [row["symbol"] for row in market.ask("coinbase", "symbols") if row["kind"] == "liquid"]
    symbols = [symbol for symbol in symbols if symbol.endswith("-USD")][:WARM_SYMBOLS]
    _prepare(market, symbols)
    now = market.market_now("coinbase")

    async def warm(ctx: ExchangeContext) -> int:
        return (await warm_up(ctx, symbols, now)).stats.requests

    async def history(ctx: ExchangeContext) -> int:
        since, until_ms = NOON - HISTORY_DAYS * 86_400_000, NOON - 86_400_000
        report = await backfill(ctx, symbols, [Timeframe.M5, Timeframe.M1], since, until_ms=until_ms)
        return report.requests

    for name, work in (("warmup", warm), ("backfill", history)):
        for again in (False, True):
            async with open_context("coinbase", market, clock=SystemClock()) as ctx:
                rule = ctx.quirks.budget
                await asyncio.sleep(rule.window_ms / 1000)  # an empty window for each
                began = time.perf_counter()
                requests = await work(ctx)
                took = time.perf_counter() - began
            if again:
                # Everything it could ask for was just stored.
                found[f"{name}_repeated_requests"] = requests
                continue
            full = -(-requests // rule.capacity) - 1
            found |= {
                f"{name}_requests": requests,
                f"{name}_s": took,
                f"{name}_limit_s": full * rule.window_ms / 1000,
            }
    found["http_429"] = market.counters("coinbase").get("http_429", 0)
    return found


def _prepare(market: Platform, symbols: Sequence[str]) -> None:
    """The simulator computes a series when first asked for it, half a second long: not our time."""
    end = market.market_now("coinbase")
    for symbol in symbols:
        for timeframe in COINBASE.timeframes:
            bars = max(WARMUP_BARS, HISTORY_DAYS * 86_400_000 // timeframe.ms)
            start = end - bars * timeframe.ms
            market.ask("coinbase", "truth", symbol=symbol, timeframe=timeframe.value, start=start, end=end)


# --- close lag --------------------------------------------------------------------------------------------
def lag() -> dict[str, float]:
    """Exchange clock at the proof minus the candle's end, ms, in real time without a closed flag."""
    before_boundary = NOON + 300_000 - 25_000 - LAG_SYMBOLS * 1_000 // 8
    with (
        servers() as (redis_url, database_url),
        played(
            redis_url, database_url, ["coinbase"], 1.0, before_boundary,
            symbols=LAG_SYMBOLS, timeframes=(Timeframe.M5,),
        ) as market,
    ):  # fmt: skip
        market.want("coinbase", top=LAG_SYMBOLS)
        with service(market, "coinbase"), connect(redis_url) as client:
            lags = LatencyHistogram("close_lag")
            after = NOON + 300_000 + 15_000
            until(lambda: market.market_now("coinbase") > after, 120, "the boundary has passed")
            summary = lags.snapshot_sync(client).summary()
        return {"closes": summary.n, "p50_ms": summary.p50, "p99_ms": summary.p99, "max_ms": summary.max}


# --- what it costs ----------------------------------------------------------------------------------------
def cost() -> dict[str, float]:
    """Share of a core and MB of the ingest process in its steady state; `slower`: by what factor the same
    work took more of the processor meanwhile than alone. Two cores may share their silicon, with strangers
    too, and a share of a core then says as much of them as of the process."""
    alone = min(_fixed_work_s() for _ in range(50))
    with (
        servers() as (redis_url, database_url),
        played(redis_url, database_url, ["binance"], 1.0, NOON + 20_000, symbols=MANY + 40,
               timeframes=THREE) as market,
    ):  # fmt: skip
        market.want("binance", top=MANY)
        with service(market, "binance") as process:
            until(lambda: market.state("binance") == "active", 300, "the service is active")
            warm = process.memory_info().rss
            until(lambda: market.market_now("binance") % 60_000 < 5_000, 70, "a minute begins")
            before = market.counters("binance")
            began, spent = time.perf_counter(), sum(process.cpu_times()[:2])
            most, paces = 0, []
            while time.perf_counter() - began < WATCHED_S:
                time.sleep(1)
                most = max(most, process.memory_info().rss)
                paces.append(_fixed_work_s())
            took, spent = time.perf_counter() - began, sum(process.cpu_times()[:2]) - spent
            after = market.counters("binance")
        return {
            "symbols": len(market.symbols("binance")),
            "core_share": spent / took,
            "slower": statistics.median(paces) / alone,
            "rss_mb": most / 1e6,
            "rss_warm_mb": warm / 1e6,
            "frames_per_s": (after.get("frames", 0) - before.get("frames", 0)) / took,
            "closes": after.get("closes", 0) - before.get("closes", 0),
            "imports_mb": _imports_mb("livermore_dagster.ingest.service"),
            "dagster_mb": _imports_mb("livermore_dagster.definitions"),
        }


def _fixed_work_s() -> float:
    """Seconds of the processor."""
    began = time.process_time()
    sum(number * number for number in range(20_000))
    return time.process_time() - began


def _imports_mb(module: str) -> float:
    """Memory of a process that has only imported `module`."""
    script = f"import {module}, psutil; print(psutil.Process().memory_info().rss)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=os.environ)
    return int(done.stdout.split()[-1]) / 1e6


PARTS = {"fetching": fetching, "lag": lag, "cost": cost}


def measure() -> dict[str, dict[str, float]]:
    return {name: part() for name, part in PARTS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--only", choices=sorted(PARTS))
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found: dict[str, Any] = {given.only: PARTS[given.only]()} if given.only else measure()
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for part, values in found.items():
        sys.stdout.writelines(f"{part}.{name:28} {value:12,.3f}\n" for name, value in values.items())


if __name__ == "__main__":
    main()
