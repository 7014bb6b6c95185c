"""The whole platform as its user starts it: `python -m tests.bench.whole [--json]`.

A fresh home until the first one-minute candle of a stream is stored, in real time; and what lies between a
boundary event and its Dagster run on the stock daemon, with the ingest process as it lives inside a run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from livermore_dagster.control.claim import read_claim
from livermore_dagster.exchanges.rows import BINANCE
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.dagster_yaml import dagster_database_url
from livermore_dagster.stores.redis.boundaries import read_boundaries
from livermore_dagster.stores.redis.client import connect
from tests.e2e.platform_run import Running, processes_of, wait_for

SYMBOLS = "20"
BOUNDARIES = 16
"""Fifteen minutes of market time each: at 60× the daemon has 15 s for one."""


@contextmanager
def fresh(*arguments: str) -> Iterator[Running]:
    """A platform that never was before; nothing of it stays."""
    folder = Path(tempfile.mkdtemp(prefix="lv-bench-"))
    platform = Running(folder / "home", "--simulate", "--seed", "7", "--symbols", SYMBOLS, *arguments)
    try:
        yield platform
    finally:
        platform.end()
        for process in processes_of(folder):
            with suppress(psutil.Error):
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def first_candle() -> dict[str, float]:
    """Seconds from the command to everything up, and to the first closed candle of the stream stored."""
    began = time.perf_counter()
    with fresh("--speed", "1", "--autostart", "binance") as platform:
        platform.wait_until_up()
        up_s = time.perf_counter() - began
        address = Settings.discover(platform.home).database_url

        def stored() -> bool:
            with psycopg.connect(address) as connection:
                found = connection.execute(
                    "SELECT count(DISTINCT symbol) FROM candles WHERE exchange_id = %s AND timeframe = '1m'"
                    " AND rank = 1",  # streamed and proven, not read by REST
                    [BINANCE.id],
                ).fetchone()
            return bool(found and found[0])

        wait_for(stored, 240, "no candle of the stream was stored")
        return {"up_s": up_s, "first_candle_s": time.perf_counter() - began}


def boundary_runs() -> dict[str, float]:
    """Milliseconds from a boundary event to its run's creation and end, of an exchange that streams all."""
    with fresh("--speed", "60", "--autostart", "binance") as platform:
        platform.wait_until_up()
        settings = Settings.discover(platform.home)
        with connect(settings.redis_url) as client:

            def events() -> dict[int, int]:
                """Wall ms at which each boundary was raised."""
                found = read_boundaries(client, {BINANCE.id: "0"}, 0, 1_000)
                return {one.boundary_ms: one.wall_ms for one in found}

            wait_for(lambda: len(events()) > BOUNDARIES, 400, "too few boundaries")
            wait_for(lambda: len(_ends(settings)) >= BOUNDARIES, 60, "too few runs ended")
            raised = events()
            claim = read_claim(client, BINANCE.id)
        memory, share = _of(claim.status.pid if claim else 0)
        ends = _ends(settings)
        created = [made - raised[at] for at, (made, _) in ends.items() if at in raised]
        finished = [end - raised[at] for at, (_, end) in ends.items() if at in raised]
        return {
            "runs": len(created),
            **_percentiles("created", created),
            **_percentiles("finished", finished),
            "ingest_rss_mb": memory,
            "ingest_core_share": share,
        }


def _ends(settings: Settings) -> dict[int, tuple[float, float]]:
    """Wall ms of creation and end of each boundary's run that succeeded."""
    with psycopg.connect(dagster_database_url(settings.database_url)) as connection:
        rows = connection.execute(
            "SELECT tags.value, extract(epoch FROM runs.create_timestamp AT TIME ZONE 'UTC'), runs.end_time"
            " FROM runs JOIN run_tags AS tags USING (run_id)"
            " WHERE tags.key = 'dagster/run_key' AND runs.status = 'SUCCESS' AND tags.value LIKE 'binance:%'"
        ).fetchall()
    return {int(key.partition(":")[2]): (float(made) * 1000, end * 1000) for key, made, end in rows}


def _of(pid: int) -> tuple[float, float]:
    """Resident MB of a process, and its share of a core over ten seconds."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        spent = sum(process.cpu_times()[:2])
        time.sleep(10)
        return process.memory_info().rss / 1e6, (sum(process.cpu_times()[:2]) - spent) / 10
    return 0.0, 0.0


def _percentiles(name: str, found: Sequence[float]) -> dict[str, float]:
    ordered = sorted(found)
    return {
        f"{name}_ms_p50": statistics.median(ordered),
        f"{name}_ms_p99": ordered[int(len(ordered) * 0.99)],
    }


def measure() -> dict[str, dict[str, float]]:
    return {"first_candle": first_candle(), "boundary_runs": boundary_runs()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    as_json = parser.parse_args().json
    found = measure()
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for part, values in found.items():
        sys.stdout.writelines(f"{part}.{name:24} {value:12,.2f}\n" for name, value in values.items())


if __name__ == "__main__":
    main()
