"""A fee report over a million fills: `python -m tests.bench.fees [--fills N]`.

Loads them into PostgreSQL by the store's own way, then makes the same three tables twice, each in a process
of its own: as `livermore fees report` does, and by plain pandas on the same rows in the same run. Both are
exact (decimals); pandas on floats is measured too, to show what exactness costs it. Peak memory counts the
process and its PostgreSQL backend.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.fees import ReportFacts, fee_report
from livermore_dagster.market.trades import Fill, Liquidity, Side
from livermore_dagster.stores.postgres.fee_cells import gather_fees
from livermore_dagster.stores.postgres.fills import insert_fills
from tests.bench.stores import T0, postgres

FILLS = 1_000_000
SYMBOLS = 140
YEAR_MS = 365 * 86_400_000
BATCH = 10_000


def drawn(count: int, seed: int = 1) -> Iterator[Fill]:
    """A year of fills, three an order, in two quote currencies; prices and sizes with 8 decimals."""
    draw = random.Random(seed)
    for number in range(count):
        order = number // 3
        quote = "USD" if order % 10 else "USDC"
        price = Decimal(draw.randrange(10**6, 10**12)).scaleb(-8)
        size = Decimal(draw.randrange(10**4, 10**10)).scaleb(-8)
        maker = draw.random() < 0.4
        with exact():
            value = price * size
            fee = value * (Decimal("0.0035") if maker else Decimal("0.0055"))
        yield Fill(
            f"f{number}", f"o{order}", f"S{order % SYMBOLS}-{quote}", f"S{order % SYMBOLS}", quote,
            Side.BUY if order % 2 else Side.SELL, T0 + number * YEAR_MS // count, price, size, value, fee,
            quote, Liquidity.MAKER if maker else Liquidity.TAKER,
        )  # fmt: skip


def ours(url: str) -> dict[str, Any]:
    async def report() -> dict[str, Any]:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            gathered = await gather_fees(connection, 1)
            found = fee_report(gathered.cells, ReportFacts("binance", "1", 0))
            return {
                "lines": len(found.by_symbol) + len(found.by_side) + len(found.by_month),
                "fees": {line.quote: str(line.fees.normalize()) for line in found.totals},
                "backend": _peak_mb(connection.info.backend_pid),
            }

    return asyncio.run(report())


def pandas(url: str, *, floats: bool) -> dict[str, Any]:
    import pandas as pd

    cast = "::float8" if floats else ""
    with psycopg.connect(url) as connection:
        cursor = connection.execute(
            f"SELECT quote, symbol, side, order_id, filled_ms, value{cast}, fee_quote{cast}"  # noqa: S608
            " FROM fills WHERE account_id = 1"
        )
        names = ["quote", "symbol", "side", "order_id", "filled_ms", "value", "fee"]
        frame = pd.DataFrame(cursor.fetchall(), columns=names)
        backend = _peak_mb(connection.info.backend_pid)
    frame["month"] = pd.to_datetime(frame["filled_ms"], unit="ms").dt.strftime("%Y-%m")
    lines = 0
    with exact():
        for by in (["quote", "symbol"], ["quote", "symbol", "side"], ["quote", "month"]):
            table = frame.groupby(by).agg(
                fees=("fee", "sum"), volume=("value", "sum"), orders=("order_id", "nunique")
            )
            table["rate"] = table["fees"] / table["volume"]
            lines += len(table)
        fees = frame.groupby("quote")["fee"].sum()
    told = {quote: str(fee if floats else fee.normalize()) for quote, fee in fees.items()}
    return {"lines": lines, "fees": told, "backend": backend}


def _peak_mb(pid: int) -> float:
    """Of that program alone: getrusage counts what its parent held when it was started, too."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


WAYS = {
    "ours": ours,
    "pandas": lambda url: pandas(url, floats=False),
    "floats": lambda url: pandas(url, floats=True),
}


def one(way: str, url: str) -> dict[str, Any]:
    """Runs one way here; seconds without the imports, peak memory in MB with them."""
    if way != "ours":
        __import__("pandas")
    began = time.perf_counter()
    found = WAYS[way](url)
    seconds = time.perf_counter() - began
    peak = _peak_mb(os.getpid())
    return {**found, "seconds": seconds, "process_mb": peak, "mb": peak + found["backend"]}


async def load(url: str, count: int) -> float:
    """Seconds the store takes for all fills, in pages, one transaction each."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(
            "INSERT INTO users (id, identity_provider, identity_sub, email, display_name, role) "
            "VALUES (1, 'local', 'bench', '', '', 'admin')"
        )
        await connection.execute("INSERT INTO user_exchanges (id, user_id, exchange_id) VALUES (1, 1, 2)")
        page: list[Fill] = []
        took = 0.0
        for fill in drawn(count):
            page.append(fill)
            if len(page) == BATCH:
                began = time.perf_counter()
                await insert_fills(connection, 1, page)
                await connection.commit()
                took += time.perf_counter() - began
                page = []
        await insert_fills(connection, 1, page)
        await connection.commit()
        await connection.execute("ANALYZE fills")
        await connection.commit()
        return took


def measure(count: int = FILLS) -> dict[str, Any]:
    """Seconds and MB of each way, and whether their totals are the same to the last digit."""
    with postgres() as url:
        found: dict[str, Any] = {"fills": count, "load_seconds": asyncio.run(load(url, count))}
        for way in WAYS:
            done = subprocess.run(
                [sys.executable, "-m", "tests.bench.fees", "--way", way, "--url", url],
                check=True, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            found[way] = json.loads(done.stdout)
    found["equal"] = all(found["ours"][name] == found["pandas"][name] for name in ("fees", "lines"))
    found["faster"] = found["pandas"]["seconds"] / found["ours"]["seconds"]
    found["memory_share"] = found["ours"]["mb"] / found["pandas"]["mb"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fees")
    parser.add_argument("--fills", type=int, default=FILLS)
    parser.add_argument("--way", choices=sorted(WAYS))
    parser.add_argument("--url")
    given = parser.parse_args()
    found = one(given.way, given.url) if given.way else measure(given.fills)
    sys.stdout.write(json.dumps(found, indent=None if given.way else 2) + "\n")


if __name__ == "__main__":
    main()
