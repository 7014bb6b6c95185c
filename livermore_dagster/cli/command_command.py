"""`livermore command`: tell an exchange's running instance what to do, and see what became of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.store_session import Home, Json, StoreSession, User, in_session
from livermore_dagster.errors import BadSetting

if TYPE_CHECKING:
    from livermore_dagster.cli.console import PlainTable
    from livermore_dagster.control.commands.message import CommandType, Reply
    from livermore_dagster.control.commands.sender import Answer
    from livermore_dagster.market.exchange import ExchangeRow
    from livermore_dagster.stores.postgres.commands import CommandRecord

__all__ = ["command", "commands"]

EXIT_CODES = {"done": 0, "refused": 2}
"""By what became of the command; 1 for anything else."""


def command(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="TYPE",
            help="pause, resume, start, stop, hand-over, reload-settings, switch-mode, add-symbol, "
            "remove-symbol, bulk-add-symbols, force-backfill or clear-cache.",
        ),
    ],
    exchange: Annotated[str, typer.Option("--exchange", "-e", help="Whose instance; there is no default.")],
    payload: Annotated[
        str, typer.Option(help='A JSON object, by type: \'{"symbol": "BTCUSDT"}\' for add-symbol.')
    ] = "{}",
    priority: Annotated[str, typer.Option(help="high, normal or low, among commands that wait.")] = "normal",
    wait_s: Annotated[float, typer.Option("--wait", min=1.0, help="Seconds to wait for its end.")] = 60.0,
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Send a command to an exchange's instance and wait for what becomes of it.

    It is acknowledged at once and run when its turn comes; one older than 30 s by then has expired. Exit
    code 0 done, 2 refused, 1 failed, expired, unanswered, or nobody there.

    Example: livermore command pause --exchange binance

    Example: livermore command bulk-add-symbols -e binance --payload '{"symbols": ["SOLUSDT", "XRPUSDT"]}'
    """
    from livermore_dagster.control.commands.message import CommandType, Priority
    from livermore_dagster.exchanges.factory import require_active, row_named

    row = require_active(row_named(exchange))
    wanted = _one_of(CommandType, kind, "command")
    rank = _one_of(Priority, priority, "priority")
    facts = _object(payload)
    answer = in_session(lambda session: _send(session, row, wanted, facts, rank, wait_s, as_json), home, user)
    _show(answer, as_json)
    code = EXIT_CODES.get(answer.verdict.value, 1)
    if code:
        raise typer.Exit(code)


def commands(
    exchange: Annotated[str | None, typer.Option("--exchange", "-e", help="Of this exchange only.")] = None,
    sender: Annotated[str | None, typer.Option("--by", metavar="SUB", help="Sent by this user only.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 20,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show who sent which commands, and what became of them; the newest first.

    Example: livermore commands --exchange binance
    """
    from dataclasses import asdict

    from livermore_dagster.accounts.users import require_user
    from livermore_dagster.cli.console import console
    from livermore_dagster.exchanges.factory import row_named
    from livermore_dagster.stores.postgres.commands import read_commands

    if exchange is not None:
        row_named(exchange)

    async def work(session: StoreSession) -> list[CommandRecord]:
        if sender is not None:
            await require_user(session.connection, sender, active=False)
        return await read_commands(session.connection, exchange=exchange, sub=sender, limit=limit)

    found = in_session(work, home)
    if as_json:
        typer.echo(json.dumps([{**asdict(one), "duration_ms": one.duration_ms} for one in found]))
        return
    if not found:
        typer.echo("No command has been sent.")
        return
    console().print(_table(found))


def _table(found: Sequence[CommandRecord]) -> PlainTable:
    """What was told to whom stands first: on a narrow terminal columns go from the right."""
    from rich.text import Text

    from livermore_dagster.cli.console import plain_table
    from livermore_dagster.market.moments import utc_text

    table = plain_table(
        "Commands", ["when (UTC)", "exchange", "command", "outcome", "by"], ["took"], ["what", "why"]
    )
    table.first = 4
    for one in found:
        took = "–" if one.duration_ms is None else f"{one.duration_ms:,} ms"
        what = json.dumps(dict(one.payload)) if one.payload else ""
        colour = {"done": "green", "accepted": "cyan", "running": "cyan"}.get(one.outcome, "red")
        table.add_row(
            utc_text(one.received_ms), one.exchange, one.type, Text(one.outcome, colour), one.sub, took, what,
            one.error,
        )  # fmt: skip
    return table


async def _send(
    session: StoreSession,
    row: ExchangeRow,
    kind: CommandType,
    payload: dict[str, Any],
    priority: Any,
    wait_s: float,
    quiet: bool,
) -> Answer:
    from livermore_dagster.control.commands.sender import send_command

    def tell(reply: Reply) -> None:
        if not quiet:
            facts = ", ".join(f"{name} {value}" for name, value in reply.result.items())
            words = "taken" if reply.kind.value == "ack" else facts
            typer.secho(f"{row.name}: {words}", dim=True, err=True)

    return await send_command(
        session.redis, row, session.user, kind, payload, priority=priority, patience_s=wait_s, on_reply=tell
    )


def _show(answer: Answer, as_json: bool) -> None:
    import msgspec

    if as_json:
        typer.echo(msgspec.json.encode(answer).decode())
        return
    good = answer.verdict.value == "done"
    typer.secho(answer.words, fg=typer.colors.GREEN if good else typer.colors.RED, err=not good)
    for name, value in (answer.reply.result if answer.reply is not None else {}).items():
        typer.echo(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}")


def _one_of(known: Any, text: str, what: str) -> Any:
    try:
        return known(text)
    except ValueError:
        names = ", ".join(one.value for one in known)
        raise BadSetting(f"Unknown {what} {text!r}.", f"There are: {names}.") from None


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadSetting(f"--payload is not JSON: {error}.", 'Write it like {"symbol": "BTCUSDT"}.') from None
    if not isinstance(found, dict):
        raise BadSetting(f"--payload {text} is no JSON object.", 'Write it like {"symbol": "BTCUSDT"}.')
    return found
