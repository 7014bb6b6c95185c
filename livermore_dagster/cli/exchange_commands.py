"""`livermore start` and `livermore stop`: what an exchange's instance shall do."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.store_session import Home
from livermore_dagster.errors import BadSetting, PlatformError

if TYPE_CHECKING:
    from livermore_dagster.cli.store_session import StoreSession
    from livermore_dagster.control.commands.message import CommandType
    from livermore_dagster.market.exchange import ExchangeRow
    from livermore_dagster.stores.redis.desired import Desired, SymbolChoice

__all__ = ["start", "stop"]

FOLLOW_S = 30.0

Exchange = Annotated[str, typer.Argument(help="Name of the exchange, such as binance.")]
User = Annotated[str, typer.Option("--user", help="Who wants it; else LIVERMORE_USER.")]


def start(
    exchange: Exchange,
    symbols: Annotated[
        str,
        typer.Option("--symbols", help="A number: the top so many by volume. Or a list: BTC-USD,ETH-USD."),
    ] = "",
    user: User = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Say how the start goes, for half a minute at most.")
    ] = True,
    home: Home = None,
) -> None:
    """Start an exchange's instance: it connects, warms up and stays up until stopped.

    While another home holds the exchange, this one stands by for it.

    Example: livermore start coinbase --symbols 20
    """
    from livermore_dagster.control.commands.message import CommandType
    from livermore_dagster.platform.options import parse_symbols
    from livermore_dagster.stores.redis.desired import SymbolChoice

    begun_ms = time.time_ns() // 1_000_000
    _wish(exchange, CommandType.START, parse_symbols(symbols or None) or SymbolChoice(), user, home)
    if wait:
        _follow_start(exchange, home, begun_ms)
    else:
        typer.echo(f"{exchange} starts within seconds. `livermore status` shows when it is active.")


def _follow_start(exchange: str, home: Path | None, begun_ms: int) -> None:
    """Tells the states it goes through until it warms up, or what keeps it from that; then it goes on alone.

    Exit code 1 when it could not start: it is tried again by itself all the same.
    """
    from livermore_dagster.control.process import home_name
    from livermore_dagster.control.registry import read_instance
    from livermore_dagster.exchanges.factory import row_named
    from livermore_dagster.market.moments import clock_text
    from livermore_dagster.platform.attach import attach
    from livermore_dagster.platform.config import platform_record
    from livermore_dagster.stores.redis.client import connect

    settings, row = attach(home), row_named(exchange)
    if platform_record(settings.home) is None:
        typer.echo(f"{exchange} is wanted. It starts when a platform runs: livermore up")
        return
    deadline = time.monotonic() + FOLLOW_S
    told = ""
    with connect(settings.redis_url) as client:
        while time.monotonic() < deadline:
            view = read_instance(client, row.id, row.name)
            status = view.claim.status if view.claim is not None else view.last_known
            if status is not None and (status.last_error_at or 0) >= begun_ms and view.state != "active":
                typer.secho(f"{exchange} could not start: {status.last_error}", fg=typer.colors.RED, err=True)
                typer.echo("It is tried again by itself, once a minute at least.", err=True)
                raise typer.Exit(1)
            if view.state != told and view.state in ("starting", "warming", "active"):
                told = view.state
                typer.echo(f"{exchange} is {told}.")
            if told in ("warming", "active"):
                holder = view.claim.status if view.claim is not None else None
                if holder is not None and holder.home != home_name(settings.home):
                    typer.echo(
                        f"It is held by {holder.place} ({holder.ip_address}) since "
                        f"{clock_text(holder.registered_at)}; this home stands by for it."
                    )
                typer.echo("`livermore status --watch` shows how it goes on.")
                return
            time.sleep(0.2)
    state = told or "not yet starting"
    typer.echo(
        f"{exchange} is {state} after {FOLLOW_S:.0f} s. `livermore status --watch` shows how it goes on."
    )


def stop(exchange: Exchange, user: User = "", home: Home = None) -> None:
    """Stop an exchange's instance: idle, it keeps its place and hears commands, until it is started again.

    This home stands by for it no more.

    Example: livermore stop coinbase
    """
    from livermore_dagster.control.commands.message import CommandType
    from livermore_dagster.stores.redis.desired import SymbolChoice

    _wish(exchange, CommandType.STOP, SymbolChoice(), user, home)
    typer.echo(f"{exchange} goes idle, and stays so until `livermore start {exchange}`.")


def _wish(exchange: str, kind: CommandType, choice: SymbolChoice, user: str, home: Path | None) -> None:
    """Commands the exchange's instance; where there is none, leaves word for the next.

    Raises before anything is written: for an unknown or inactive exchange or user, one who may not, a wrong
    symbol.
    """
    from livermore_dagster.accounts.users import require_user
    from livermore_dagster.cli.store_session import in_session
    from livermore_dagster.control.commands.message import CommandType
    from livermore_dagster.control.commands.sender import Verdict, send_command
    from livermore_dagster.control.process import home_name
    from livermore_dagster.exchanges.factory import require_active, row_named
    from livermore_dagster.platform.attach import attach
    from livermore_dagster.platform.homes import tell_home
    from livermore_dagster.platform.symbols import check_symbols
    from livermore_dagster.stores.redis.client import connect

    row = require_active(row_named(exchange))
    settings = attach(home)
    sub = settings.acting_user(user)
    check_symbols(settings, row, choice)
    payload = {
        **({"top": choice.top} if choice.top is not None else {}),
        **({"symbols": list(choice.listed)} if choice.listed else {}),
    }

    async def work(session: StoreSession) -> tuple[bool, str]:
        await require_user(session.connection, sub)
        answer = await send_command(session.redis, row, sub, kind, payload, patience_s=FOLLOW_S)
        if answer.verdict is Verdict.NOBODY:
            return True, await _leave_word(session, row, sub, kind, payload, choice)
        good = answer.verdict in (Verdict.DONE, Verdict.UNANSWERED)
        return answer.verdict is Verdict.REFUSED, "" if good else answer.words

    refused, words = in_session(work, home)
    if words:
        raise BadSetting(words) if refused else PlatformError(words)
    with connect(settings.redis_url) as client:
        tell_home(client, home_name(settings.home), row.id, runs=kind is CommandType.START)


async def _leave_word(
    session: StoreSession,
    row: ExchangeRow,
    sub: str,
    kind: CommandType,
    payload: Mapping[str, Any],
    choice: SymbolChoice,
) -> str:
    """What is wanted from now on, by the same right and with the same record as a command; why not, or ''."""
    from livermore_dagster.control.commands.message import CommandType
    from livermore_dagster.control.commands.queue import server_ms
    from livermore_dagster.stores.postgres.commands import (
        CommandRecord,
        load_authority,
        record_commands,
        why_not,
    )
    from livermore_dagster.stores.redis.desired import SymbolChoice, change_desired

    authority = await load_authority(session.connection, [sub], row.id)
    refused = why_not(sub, authority.get(sub), row.name)
    now_ms = await server_ms(session.redis)
    record = CommandRecord(
        str(uuid.uuid4()), sub, kind.value, row.name, payload, "normal", now_ms, now_ms, now_ms, now_ms,
        outcome="refused" if refused else "done",
        error=refused,
        result={} if refused else {"note": "No instance was there: it holds for the next."},
    )  # fmt: skip
    # Committed when the session ends well: nothing is wanted without its record.
    await record_commands(session.connection, [record])

    def change(old: Desired) -> Desired:
        if kind is CommandType.STOP:
            return replace(old, state="idle", user=sub, reason="", paused=False)
        said = choice != SymbolChoice()  # not said again: the symbols stay what they were
        return replace(old, state="running", symbols=choice if said else old.symbols, user=sub, reason="")

    if not refused:
        await change_desired(session.redis, row.id, change)
    return refused
