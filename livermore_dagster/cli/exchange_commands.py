"""`livermore start` and `livermore stop`: what an exchange's instance shall be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from livermore_dagster.stores.redis.desired import Desired

__all__ = ["start", "stop"]

Exchange = Annotated[str, typer.Argument(help="Name of the exchange, such as binance.")]
Home = Annotated[Path | None, typer.Option("--home", help="Home of the platform, where there are several.")]
User = Annotated[str, typer.Option("--user", help="Who wants it.")]


def start(
    exchange: Exchange,
    symbols: Annotated[
        str,
        typer.Option("--symbols", help="A number: the top so many by volume. Or a list: BTC-USD,ETH-USD."),
    ] = "",
    user: User = "",
    home: Home = None,
) -> None:
    """Start an exchange's instance: it connects, warms up and stays up until stopped.

    Example: livermore start coinbase --symbols 20
    """
    from livermore_dagster.platform.options import parse_symbols
    from livermore_dagster.stores.redis.desired import Desired, SymbolChoice

    _wish(exchange, Desired("running", parse_symbols(symbols or None) or SymbolChoice(), user), home)
    typer.echo(f"{exchange} starts within seconds. `livermore status` shows when it is active.")


def stop(exchange: Exchange, user: User = "", home: Home = None) -> None:
    """Stop an exchange's instance; it stays stopped until it is started again.

    Example: livermore stop coinbase
    """
    from livermore_dagster.stores.redis.desired import Desired

    _wish(exchange, Desired("stopped", user=user), home)
    typer.echo(f"{exchange} stops, and stays stopped until `livermore start {exchange}`.")


def _wish(exchange: str, desired: Desired, home: Path | None) -> None:
    """Raises UnknownExchange, InactiveExchange or UnknownSymbol before anything is written."""
    from livermore_dagster.exchanges.factory import require_active, row_named
    from livermore_dagster.platform.config import Settings
    from livermore_dagster.platform.symbols import check_symbols
    from livermore_dagster.stores.redis.client import connect
    from livermore_dagster.stores.redis.desired import (
        SymbolChoice,
        read_desired_sync,
        write_desired_sync,
    )

    row = require_active(row_named(exchange))
    settings = Settings.discover(home)
    check_symbols(settings, row, desired.symbols)
    with connect(settings.redis_url) as client:
        known = read_desired_sync(client, row.id)
        if desired.symbols == SymbolChoice() and known is not None:
            # Not said again: the symbols stay what they were.
            desired = replace(desired, symbols=known.symbols, user=desired.user or known.user)
        write_desired_sync(client, row.id, desired)
