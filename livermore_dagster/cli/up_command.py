"""`livermore up`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["up"]

PORT = 3000


def up(
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Play the exchanges here; no real one is met.")
    ] = False,
    speed: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Market time runs so many times faster (--simulate).")
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Which simulated market; default: the home's, else 1.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Where a new simulated market's clock begins (ISO 8601)."
        ),
    ] = None,
    storm: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEED", help="Ten minutes of faults drawn from a seed (--simulate)."),
    ] = None,
    accounts: Annotated[
        bool,
        typer.Option("--accounts", help="Register simulated accounts with a year of trades (--simulate)."),
    ] = False,
    join: Annotated[
        Path | None,
        typer.Option(
            metavar="HOME|FILE",
            help="Use the simulated exchanges another home plays, or a `simulate --json`.",
        ),
    ] = None,
    autostart: Annotated[
        list[str] | None, typer.Option(metavar="EXCHANGE", help="Start this exchange at once; repeatable.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="SUB", help="Start with this user's settings and symbols."),
    ] = None,
    symbols: Annotated[
        str | None, typer.Option(metavar="N|LIST", help="Top N by volume (default 50), or names with commas.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where everything lives; default ~/.livermore[-sim].")
    ] = None,
    run_for: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="SECONDS",
            min=1,
            help="End after so long, counted from when all exchanges are active.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="At the end one JSON object on standard output; progress on standard error."
        ),
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Dagster's web server.")] = PORT,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Loopback port of /metrics and /health; default 9464, or a free one."
        ),
    ] = None,
) -> None:
    """Start everything a fresh machine needs, show it, and stop it with Ctrl-C.

    Servers, Dagster, workers and, with --simulate, the exchanges. Idle until an exchange is started, by
    --autostart or by `livermore start`.

    Example: livermore up --simulate --speed 60 --autostart binance --symbols 20
    """
    import json

    from livermore_dagster.errors import BadSetting
    from livermore_dagster.platform import options as asked
    from livermore_dagster.platform.config import DATABASE_URL, REDIS_URL, home_from
    from livermore_dagster.platform.home import Home
    from livermore_dagster.platform.simulation import JoinedMarket
    from livermore_dagster.platform.up import run_up

    makes = {
        "--speed": speed != 1.0,
        "--seed": seed is not None,
        "--from": from_,
        "--storm": storm is not None,
    }
    asked.check_simulation(makes, {"--accounts": accounts, "--join": join}, simulate=simulate)
    chosen = home_from(home, simulate=simulate)
    joined = JoinedMarket.read(join) if join is not None else None
    sockets = Home(chosen).sockets
    if symbols is not None and not autostart:
        raise BadSetting("--symbols speaks of the exchanges that start.", "Add --autostart EXCHANGE.")
    report = run_up(
        asked.UpOptions(
            home=chosen,
            simulate=simulate,
            speed=joined.speed if joined is not None else speed,
            seed=joined.seed if joined is not None else asked.seed_of_home(chosen, seed),
            from_ms=asked.parse_from(from_),
            autostart=asked.checked_exchanges(autostart or []),
            symbols=asked.parse_symbols(symbols),
            user=user,
            run_for_s=run_for,
            as_json=as_json,
            port=port,
            redis_url=asked.outside_server(REDIS_URL, sockets),
            database_url=asked.outside_server(DATABASE_URL, sockets),
            database_ca=asked.database_ca(),
            metrics_port=metrics_port,
            storm=storm,
            accounts=accounts,
            join=joined,
        )
    )
    if as_json:
        typer.echo(json.dumps(report, indent=1))
        if report is not None and report["never_active"]:
            raise typer.Exit(1)
