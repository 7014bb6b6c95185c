"""The control door and the command."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from livermore_dagster.errors import BadSetting, PortInUse, UnknownExchange
from livermore_dagster.simulator.server import Simulator
from tests.integration.simulator.conftest import MINUTE, START, Played

LIVERMORE = [sys.executable, "-m", "livermore_dagster.cli.app"]


async def test_the_door_names_what_it_has(by_hand: Played) -> None:
    index = await by_hand.control("binance", "")
    assert "faults" in index["post"]
    clock = await by_hand.control("binance", "clock")
    assert clock == {"now_ms": START, "origin_ms": START, "speed": 0.0, "seed": 7}
    kinds = {item["symbol"]: item["kind"] for item in await by_hand.control("coinbase", "symbols")}
    assert kinds["BTC-USD"] == "liquid"
    assert kinds["POWR-USD"] == "sparse"
    assert kinds["NOVA-USD"] == "listed"
    assert kinds["MUTE-USD"] == "silent"


async def test_truth_holds_closed_candles_only_and_all_of_them(by_hand: Played) -> None:
    by_hand.advance(7 * MINUTE + 30_000)
    filled = await by_hand.truth("binance", "POWRUSDT", "1m", START, START + 60 * MINUTE)
    assert [row["open_ms"] for row in filled] == [START + n * MINUTE for n in range(7)]
    sparse = await by_hand.truth("coinbase", "POWR-USD", "1m", START - 60 * MINUTE, START + 60 * MINUTE)
    assert 0 < len(sparse) < 67
    assert all(row["volume"] != "0" for row in sparse)
    assert await by_hand.truth("binance", "NOVAUSDT", "1m", START, START + 60 * MINUTE) == []


async def test_every_answered_candle_request_is_kept_with_its_span(by_hand: Played) -> None:
    hour = 60 * MINUTE
    for start in (START - 2 * hour, START - hour):
        query = {"symbol": "BTCUSDT", "interval": "5m", "startTime": start, "endTime": start + hour - 1}
        assert (await by_hand.get("binance", "/api/v3/klines", **query)).status_code == 200
    assert (await by_hand.get("binance", "/api/v3/klines", symbol="NOPE", interval="5m")).status_code == 400
    seen = await by_hand.control("binance", "requests")
    assert seen["total"] == 2
    assert seen["requests"] == [
        {
            "number": number, "symbol": "BTCUSDT", "timeframe": "5m",
            "start_ms": start, "end_ms": start + hour, "at_ms": START,
        }
        for number, start in ((1, START - 2 * hour), (2, START - hour))
    ]  # fmt: skip
    later = await by_hand.control("binance", "requests", after=1)
    assert [one["number"] for one in later["requests"]] == [2]
    path = "/api/v3/brokerage/market/products/BTC-USD/candles"
    start, end = (START - hour) // 1000, START // 1000 - 900
    await by_hand.get("coinbase", path, granularity="FIFTEEN_MINUTE", start=start, end=end)
    (asked,) = (await by_hand.control("coinbase", "requests"))["requests"]
    assert (asked["symbol"], asked["timeframe"]) == ("BTC-USD", "15m")
    assert (asked["start_ms"], asked["end_ms"]) == (START - hour, START - 900_000 + 1)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"symbol": "NOPE", "timeframe": "1m"}, "unknown symbol"),
        ({"symbol": "BTCUSDT", "timeframe": "2m"}, "unknown timeframe"),
        ({"symbol": "BTCUSDT", "timeframe": "1m", "start": "yesterday"}, "epoch milliseconds"),
        ({"symbol": "BTCUSDT", "timeframe": "1m", "start": 0}, "at most"),
    ],
)
async def test_truth_refuses_what_it_cannot_answer(
    by_hand: Played, query: dict[str, Any], words: str
) -> None:
    reply = await by_hand.get("binance", "/control/truth", **query)
    assert reply.status_code == 400
    assert words in reply.json()["error"]


@pytest.mark.parametrize(
    ("door", "body", "status", "words"),
    [
        ("faults", b"{", 400, "not JSON"),
        ("faults", b"[]", 400, "JSON object"),
        ("faults", b'{"kind":"flood"}', 400, "unknown kind"),
        ("faults", b" " * 20_000, 413, ""),
        ("settings", b'{"colour":1}', 400, "unknown setting"),
        ("settings", b'{"weight_limit":"9"}', 400, "must be a number"),
        ("settings", b'{"weight_limit":-1}', 400, "positive"),
    ],
)
async def test_bad_orders_are_refused_with_words(
    by_hand: Played, door: str, body: bytes, status: int, words: str
) -> None:
    reply = await by_hand.http.post(f"{by_hand.simulator.control_url('binance')}/{door}", content=body)
    assert reply.status_code == status
    assert words in reply.text


async def test_two_runs_of_one_seed_tell_the_same_truth(tmp_path: Path) -> None:
    async def look(simulator: Simulator) -> Any:
        async with simulator, httpx.AsyncClient(timeout=60) as http:
            query = {"symbol": "POWR-USD", "timeframe": "5m", "start": START - 3_600_000, "end": START}
            reply = await http.get(f"{simulator.control_url('coinbase')}/truth", params=query)
            return reply.json()["candles"]

    anchor = tmp_path / "anchor.json"
    first = await look(Simulator(["coinbase"], seed=5, speed=60, start_ms=START, anchor=anchor))
    again = await look(Simulator(["coinbase"], seed=5, speed=1, anchor=anchor))
    assert first
    assert first == again
    assert await look(Simulator(["coinbase"], seed=6, speed=1, start_ms=START)) != first


async def test_bad_ways_to_start_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownExchange):
        Simulator(["kraken"])
    with pytest.raises(BadSetting):
        Simulator(["binance"], speed=0)
    with pytest.raises(BadSetting, match="certificate"):
        Simulator(["binance"], tls=(tmp_path / "no.crt", tmp_path / "no.key"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=str(port)):
            async with Simulator(["binance"], base_port=port):
                pass


# --- the command ------------------------------------------------------------------------------------------
@contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [*LIVERMORE, "simulate", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_says_where_and_ends_at_once(number: signal.Signals) -> None:
    with command("--exchange", "binance", "--exchange", "coinbase") as (process, said):
        assert list(said["exchanges"]) == ["binance", "coinbase"]
        for urls in said["exchanges"].values():
            async with httpx.AsyncClient(timeout=60) as http:
                assert (await http.get(f"{urls['control_url']}/clock")).status_code == 200
        url = f"{said['exchanges']['binance']['ws_url']}/ws/btcusdt@ticker"
        async with websockets.connect(url) as connection:
            await connection.recv()
            begun = time.monotonic()
            process.send_signal(number)
            await asyncio.to_thread(process.wait, 60)
            # 0.1 s on a machine at rest; the test allows for one that is not.
            assert time.monotonic() - begun < 10
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--exchange", "kraken"], "Known exchanges"),
        (["--from", "tomorrow"], "ISO 8601"),
        (["--speed", "-1"], "--speed"),
        (["--coinbase-4h", "maybe"], "yes or no"),
    ],
)
def test_bad_arguments_end_with_words_and_code_two(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [*LIVERMORE, "simulate", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@asynccontextmanager
async def certificate(folder: Path) -> AsyncIterator[tuple[Path, Path]]:
    openssl = shutil.which("openssl")
    assert openssl is not None, "openssl makes the test's certificate"
    crt, key = folder / "sim.crt", folder / "sim.key"
    maker = await asyncio.create_subprocess_exec(
        openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
        "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(crt), "-keyout", str(key),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await maker.wait() == 0
    yield crt, key


async def test_tls_serves_https_and_wss(tmp_path: Path) -> None:
    async with certificate(tmp_path) as (crt, key):
        trust = ssl.create_default_context(cafile=str(crt))
        async with (
            Simulator(["binance"], tls=(crt, key)) as simulator,
            httpx.AsyncClient(verify=trust) as http,
        ):
            assert (await http.get(f"{simulator.rest_url('binance')}/api/v3/ping")).json() == {}
            url = f"{simulator.ws_url('binance')}/ws/btcusdt@ticker"
            async with websockets.connect(url, ssl=trust) as connection:
                assert json.loads(await connection.recv())["s"] == "BTCUSDT"


async def test_a_storm_is_ordered_at_the_door_and_planned_by_the_command(by_hand: Played) -> None:
    """The plan that is shown is the storm that is played, whenever its market began."""
    ordered = await by_hand.order("coinbase", "storm", seed=11, duration_s=60, intensity=1)
    faults = await by_hand.control("coinbase", "faults")
    assert [fault["kind"] for fault in faults] == [order["kind"] for order in ordered["orders"]]
    arguments = [
        "--storm",
        "11",
        "--storm-for",
        "60",
        "--seed",
        "7",
        "--symbols",
        "20",
        "--storm-plan",
        "--json",
    ]
    done = await asyncio.to_thread(
        subprocess.run,
        [*LIVERMORE, "simulate", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    plans = json.loads(done.stdout)["exchanges"]
    assert list(plans) == ["binance", "binance_us", "coinbase"]
    assert plans["coinbase"] == ordered["orders"]
