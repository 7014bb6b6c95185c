"""Runs the simulated exchanges as a process of their own, until told to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from livermore_dagster.logs import log_to_stderr
from livermore_dagster.simulator.recorded import RecordedFile
from livermore_dagster.simulator.server import Simulator
from livermore_dagster.simulator.storm import Storm, storm_plan
from livermore_dagster.simulator.universe import universe

__all__ = ["run", "show_plan"]


def run(
    exchanges: Sequence[str],
    *,
    seed: int,
    speed: float,
    start_ms: int | None,
    anchor: Path | None,
    base_port: int,
    tls: tuple[Path, Path] | None,
    symbols: int,
    coinbase_4h: bool,
    as_json: bool,
    storm: Storm | None = None,
    recorded: Sequence[RecordedFile] = (),
    host: str = "127.0.0.1",
) -> None:
    """Plays the exchanges until SIGTERM or SIGINT, having said on standard output where they are."""
    simulator = Simulator(
        exchanges,
        seed=seed,
        speed=speed,
        start_ms=start_ms,
        anchor=anchor,
        base_port=base_port,
        tls=tls,
        symbols=symbols,
        coinbase_4h=coinbase_4h,
        recorded=recorded,
        host=host,
    )
    log_to_stderr()
    asyncio.run(_play(simulator, storm, as_json=as_json))


async def _play(simulator: Simulator, storm: Storm | None, *, as_json: bool) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with simulator:
        _announce(simulator, as_json=as_json)
        if storm is not None:
            for played in simulator.exchanges.values():
                played.storm(storm)
        beats = asyncio.create_task(simulator.failed())
        ended = asyncio.create_task(told.wait())
        await asyncio.wait({beats, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if beats.done():
            beats.result()
        beats.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beats


def _announce(simulator: Simulator, *, as_json: bool) -> None:
    addresses = simulator.addresses()
    if as_json:
        clock = simulator.clock
        # An anchor (simulator.clock), for whoever joins this market.
        market = {
            "seed": simulator.seed,
            "speed": clock.speed,
            "real_ms": time.time_ns() // 1_000_000,
            "market_ms": clock.now_ms(),
            "origin_ms": clock.origin_ms,
        }
        text = json.dumps(
            {
                "exchanges": addresses,
                "seed": simulator.seed,
                "now_ms": market["market_ms"],
                "market": market,
            }
        )
    else:
        lines = ["SIMULATED exchanges, not the real ones:"]
        for name, urls in addresses.items():
            lines.append(
                f"  {name:<11} REST {urls['rest_url']}   stream {urls['ws_url']}   door {urls['control_url']}"
            )
        text = "\n".join(lines)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def show_plan(exchanges: Sequence[str], storm: Storm, *, seed: int, symbols: int, as_json: bool) -> None:
    """Says what a storm would order of the exchanges' markets of `seed`, without playing anything."""
    # Which symbols there are does not hang on when a market begins.
    plans = {name: storm_plan(storm, name, universe(name, seed, 0, symbols)) for name in exchanges}
    if as_json:
        sys.stdout.write(json.dumps({"storm": asdict(storm), "exchanges": plans}, indent=1) + "\n")
        return
    for name, plan in plans.items():
        calm = storm.duration_s * 0.75
        sys.stdout.write(f"{name}: storm {storm.seed}, {len(plan)} orders, calm from {calm:g} s\n")
        for order in plan:
            rest = {key: value for key, value in order.items() if key not in ("kind", "after_s", "symbol")}
            told = "  ".join(f"{key} {value}" for key, value in rest.items())
            line = f"  {order['after_s']:>8.1f} s  {order['kind']:<20}{order.get('symbol', 'all'):<11}{told}"
            sys.stdout.write(f"{line.rstrip()}\n")
