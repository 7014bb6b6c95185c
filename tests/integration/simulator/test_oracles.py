"""ccxt and Binance's own client read from the simulator what it holds for true."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.simulator.conftest import START, Played

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-oracle" / "bin" / "python"
BASES = ["BTC", "POWR", "MUTE", "PEPE"]
TIMEFRAMES = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "1d": 86_400_000}

pytestmark = pytest.mark.oracle


async def read_all(task: dict[str, Any]) -> dict[str, Any]:
    assert PYTHON.exists(), "make oracle-env builds the environment of the independent clients"
    process = await asyncio.create_subprocess_exec(
        str(PYTHON),
        str(ROOT / "tests" / "oracle" / "read_candles.py"),
        json.dumps(task),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-2000:]
    read: dict[str, Any] = json.loads(out)
    return read


async def test_independent_clients_read_the_truth(by_hand: Played) -> None:
    urls = {name: by_hand.simulator.rest_url(name) for name in by_hand.simulator.exchanges}
    read = await read_all({**urls, "until": START, "bases": BASES, "timeframes": list(TIMEFRAMES)})
    assert len(read) == 5
    compared = 0
    for reader, symbols in read.items():
        name = reader.split()[1]
        for base in BASES:
            symbol = f"{base}-USD" if name == "coinbase" else f"{base}USDT"
            for timeframe, step in TIMEFRAMES.items():
                rows = [row for row in symbols[base][timeframe] if row[0] + step <= START]
                truth = await by_hand.truth(name, symbol, timeframe, START - 250 * step, START)
                names = ("open", "high", "low", "close", "volume")
                # ccxt gives floats: the shortest text of a float is the decimal it was read from.
                assert [(row[0], *(Decimal(str(value)) for value in row[1:6])) for row in rows] == [
                    (row["open_ms"], *(Decimal(row[name]) for name in names)) for row in truth
                ], (reader, base, timeframe)
                compared += len(truth)
    assert compared > 15_000
