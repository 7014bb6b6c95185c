"""The root of the command line. A command's module is imported only when it runs or shows its help."""

from __future__ import annotations

import importlib
import inspect
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
import typer.core
import typer.main

from livermore_dagster.cli.group import CONTEXT, CommandGroup
from livermore_dagster.errors import LivermoreError

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[str, str, str]] = {
    # name: (module under cli, function or typer.Typer in it, one line for the overview)
    "up": ("up_command", "up", "Start everything, show it, stop it with Ctrl-C."),
    "down": ("down_command", "down", "Stop a platform that runs elsewhere."),
    "status": ("status_command", "status", "What runs where, and how each exchange fares."),
    "env": ("env_command", "env", 'Lines for eval "$(livermore env)".'),
    "doctor": ("doctor_command", "doctor", "Check servers, schema, clocks, exchanges and disk."),
    "db": ("db_command", "app", "Apply schema.sql to the database, or check it for drift."),
    "start": ("exchange_commands", "start", "Start an exchange's instance."),
    "stop": ("exchange_commands", "stop", "Stop an exchange's instance: idle until it is started again."),
    "backfill": ("backfill_command", "backfill", "Fetch an exchange's older candles, resumably."),
    "board": ("board_command", "board", "Every symbol × timeframe: MACD-V, stage, age, bias."),
    "near-alerts": ("near_alerts_command", "near_alerts", "Who is close to a level, the closest first."),
    "explain": ("explain_command", "explain", "Why a series has, or has not, a value or an alert."),
    "audit": ("audit_command", "audit", "Judge what is stored, against the exchange and in itself."),
    "candles": ("market_commands", "candles", "Show stored candles."),
    "indicators": ("market_commands", "indicators", "Show MACD-V values and stages."),
    "alerts": ("alerts_command", "alerts", "Show alerts, or follow them as they come."),
    "notify": ("notify_command", "app", "Notifications: add a channel, test it, see how they fare."),
    "mute": ("mute_commands", "mute", "Tell nothing of an exchange, symbol or timeframe."),
    "unmute": ("mute_commands", "unmute", "End a mute."),
    "mutes": ("mute_commands", "mutes", "Show what is muted."),
    "macdv": ("macdv_command", "macdv", "Compute MACD-V over a CSV file."),
    "retention": ("retention_command", "app", "How long candles are kept: show, set."),
    "account": ("account_command", "app", "Exchange accounts: add, list, test, remove."),
    "fees": ("fees_command", "app", "What trading cost, and what a trade will cost."),
    "portfolio": ("portfolio_command", "portfolio", "Positions: cost, value, profit, signal."),
    "command": ("command_command", "command", "Tell an exchange's instance what to do."),
    "commands": ("command_command", "commands", "Who sent which commands, and what became of them."),
    "network": ("network_command", "app", "What the exchanges' instances went through."),
    "user": ("user_command", "app", "Users: list, add, give a role, disable."),
    "settings": ("settings_command", "app", "A user's settings: get, set, replace, export, import, diff."),
    "symbols": ("symbols_command", "app", "What is monitored; a user's own symbols."),
    "simulate": ("simulate_command", "simulate", "Play the exchanges on loopback."),
}


class LazyGroup(CommandGroup):
    """Knows its commands by name; loads one when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if ctx.resilient_parsing or not ctx._protected_args:  # noqa: SLF001 - overview: names and lines are enough
            return _overview(cmd_name)
        return _load(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            return args[0], _load(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as wrong:
            _name_the_value(wrong)
            raise


def _name_the_value(wrong: typer.BadParameter) -> None:
    """Which value it was: the library says only what it should have been."""
    from pydantic import ValidationError

    if not isinstance(wrong.__cause__, ValidationError):
        return
    first = wrong.__cause__.errors()[0]
    value, words = first["input"], first["msg"].removeprefix("Value error, ").rstrip(".")
    wrong.message = f"{words}." if repr(value) in words else f"{value!r}. {words}."


def _overview(name: str) -> Any:
    shell = typer.Typer(add_completion=False)

    def nothing() -> None:
        """Stands for a command that is not loaded."""

    shell.command(name, help=COMMANDS[name][2])(nothing)
    command = typer.main.get_command(shell)
    command.name = name
    return command


def _load(name: str) -> Any:
    from livermore_dagster.logs import log_for_commands

    log_for_commands()
    module_name, attribute, line = COMMANDS[name]
    target = getattr(importlib.import_module(f"livermore_dagster.cli.{module_name}"), attribute)
    if isinstance(target, typer.Typer):
        for one in target.registered_commands:
            if one.callback is not None:
                one.help = _paragraphs(one.callback.__doc__ or "")
    else:
        alone = typer.Typer(add_completion=False, context_settings=CONTEXT)
        alone.command(name, help=_paragraphs(target.__doc__ or line))(target)
        target = alone
    command = typer.main.get_command(target)
    command.name = name
    return command


def _paragraphs(text: str) -> str:
    """A docstring whose paragraphs are one line each: the terminal breaks them where it ends."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


app = typer.Typer(
    name="livermore",
    cls=LazyGroup,
    help="Native candles, MACD-V alerts and data at rest.",
    no_args_is_help=True,
    add_completion=False,
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"livermore {version('livermore')}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", help="Show the version.", callback=_show_version, is_eager=True
    ),
) -> None:
    """Native candles, MACD-V alerts and data at rest."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The `livermore` command. Expected failures end in words on standard error, never in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without '✓' shows '?', and no traceback
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="livermore")
    except LivermoreError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        _reader_gone()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer makes exit code 1 of it
            _reader_gone()
        raise
    except Exception as error:
        told = _server_trouble(error)
        if told is None:
            raise
        show_error(told)
        sys.exit(told.exit_code)


def _reader_gone() -> NoReturn:
    """The reader (`| head`) has gone: no more to say, and nothing of ours is wrong."""
    # What is still buffered must not fail again when Python flushes it at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _server_trouble(error: Exception) -> LivermoreError | None:
    """A server that went away, was never there, or holds another schema, in words; None for any other error.

    Looks only at what has been imported: an error of a module that is not there cannot be at hand.
    """
    if "psycopg" in sys.modules:
        import psycopg

        from livermore_dagster.stores.postgres import connect

        if isinstance(error, psycopg.OperationalError):
            return connect.no_answer(error)
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            return connect.schema_differs(error)
    if "redis" in sys.modules:
        import redis

        from livermore_dagster.stores.redis import client

        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            return client.no_answer(error)
    return None


def show_error(error: LivermoreError) -> None:
    """Message and advice, red where the terminal has colours, between words where it ends."""
    typer.secho(_broken(error.message), fg=typer.colors.RED, bold=True, err=True)
    if error.advice:
        typer.secho(_broken(error.advice), fg=typer.colors.RED, err=True)


def _broken(text: str) -> str:
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = (
        textwrap.wrap(line, width, break_on_hyphens=False, break_long_words=False)
        for line in text.splitlines()
    )
    return "\n".join("\n".join(line) for line in lines)


if __name__ == "__main__":
    main()
