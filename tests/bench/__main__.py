"""The speeds of the platform against their targets and baselines, as ratios of one run: `make bench`.

    python -m tests.bench [--json] [--write] [--only PART]...

`--write` keeps the table in docs/benchmarks.md with machine and versions. All parts take about 15 minutes:
some of them wait for real minutes to end.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from tests.bench import baselines
from tests.bench.page import HEADS, Row, cells, load, machine, page
from tests.bench.rows import PARTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"


def measured(parts: dict[str, Callable[[], Iterator[Row]]]) -> Iterator[Row]:
    """Rows of each part; one that fails says so in its place and stops no other."""
    for name, part in parts.items():
        sys.stderr.write(f"{name} …\n")
        try:
            rows = list(part())
            yield from (replace(row, load=load().split()[0]) for row in rows)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one part's
            sys.stderr.write(f"{name} failed: {type(error).__name__}: {error}\n")
            yield Row(f"{name}: not measured", "", "", met=False, note=f"{type(error).__name__}: {error}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Speeds against their targets."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="one part; repeatable")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    facts = machine()
    chosen = {name: part for name, part in PARTS.items() if not given.only or name in given.only}
    rows = list(measured(chosen))
    facts["load average at the end"] = load()
    if not baselines.OTHERS.exists():
        sys.stderr.write("cryptofeed and ccxt are not compared: `make bench-env` installs them.\n")
    if given.write:
        PAGE.write_text(page(rows, facts), encoding="utf-8")
    if given.json:
        sys.stdout.write(json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]}) + "\n")
    else:
        table = Table(*HEADS)
        for row in rows:
            table.add_row(*cells(row))
        Console(width=None if sys.stdout.isatty() else 190).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
