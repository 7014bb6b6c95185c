"""`livermore simulate`: the exchanges, played on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from livermore_dagster.cli.arguments import epoch_ms
from livermore_dagster.errors import BadSetting

__all__ = ["simulate"]


def simulate(
    exchange: Annotated[
        list[str] | None,
        typer.Option(
            "--exchange", help="binance, binance_us or coinbase; repeatable; all three unless given."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; another than loopback where other machines join.")
    ] = "127.0.0.1",
    base_port: Annotated[
        int, typer.Option(min=0, max=65_000, help="Port of the first exchange, the next ones follow; 0: any.")
    ] = 0,
    speed: Annotated[float, typer.Option(help="Market seconds per real second.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same market.")] = 1,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Market time of the first start, ISO 8601 (2026-01-05T23:30:00Z); now unless given.",
        ),
    ] = None,
    tls: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--tls", help="Certificate and key (PEM) to serve HTTPS and WSS."),
    ] = None,
    symbols: Annotated[int, typer.Option(min=1, max=140, help="Ranked bases each exchange lists.")] = 40,
    anchor: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps market time over restarts: it runs on while the simulator is down."
        ),
    ] = None,
    coinbase_4h: Annotated[
        str, typer.Option("--coinbase-4h", help="yes or no: whether Coinbase serves four-hour candles.")
    ] = "yes",
    recorded: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXCHANGE:SYMBOL:TIMEFRAME=FILE",
            help="Play a recorded series (CSV or JSON) as it was, at its own time; repeatable.",
        ),
    ] = None,
    storm: Annotated[
        int | None, typer.Option(min=0, metavar="SEED", help="Play the storm of faults this seed makes.")
    ] = None,
    storm_for: Annotated[
        float, typer.Option("--storm-for", min=60, max=86_400, help="How long it lasts, real seconds.")
    ] = 600.0,
    storm_plan: Annotated[
        bool, typer.Option("--storm-plan", help="Show the storm's orders and play nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say the addresses as one JSON object on standard output.")
    ] = False,
) -> None:
    """Play the exchanges on loopback: REST, WebSocket, limits, faults, and a market made of a seed.

    Example: livermore simulate --exchange binance --speed 60 --json
    """
    from livermore_dagster.simulator.recorded import parse_recorded
    from livermore_dagster.simulator.run import run, show_plan
    from livermore_dagster.simulator.storm import Storm
    from livermore_dagster.simulator.universe import EXCHANGES

    if coinbase_4h not in ("yes", "no"):
        raise BadSetting(f"--coinbase-4h must be yes or no, not {coinbase_4h!r}.")
    start_ms = None if start is None else epoch_ms(start, "--from", "Write ISO 8601: 2026-01-05T23:30:00Z.")
    weather = None if storm is None else Storm(storm, storm_for)
    if storm_plan:
        if weather is None:
            raise BadSetting("--storm-plan shows a storm.", "Say which: --storm SEED.")
        show_plan(exchange or EXCHANGES, weather, seed=seed, symbols=symbols, as_json=as_json)
        return
    run(
        exchange or EXCHANGES,
        seed=seed,
        speed=speed,
        start_ms=start_ms,
        anchor=anchor,
        host=host,
        base_port=base_port,
        tls=tls,
        symbols=symbols,
        coinbase_4h=coinbase_4h == "yes",
        as_json=as_json,
        storm=weather,
        recorded=[parse_recorded(text) for text in recorded or ()],
    )
