"""Tables of the commands: columns move together on a narrow terminal before anything is cut."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console
from rich.table import Table

from livermore_dagster.cli.command_command import _table as commands_table
from livermore_dagster.cli.console import plain_table
from livermore_dagster.cli.settings_command import _changes_table as changes_table
from livermore_dagster.stores.postgres.commands import CommandRecord
from livermore_dagster.stores.postgres.user_settings import SettingsChange


@pytest.mark.parametrize(("width", "line"), [(40, "abcdef   ghijkl   123456"), (20, "abcdef ghijkl 123456")])
def test_columns_move_together(width: int, line: str) -> None:
    table = plain_table("", ["one", "two"], ["number"], [])
    table.add_row("abcdef", "ghijkl", "123456")
    screen = Console(file=io.StringIO(), width=width)
    screen.print(table)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert line in [one.rstrip() for one in shown.splitlines()]


def lines(table: Table, width: int) -> list[str]:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(table)
    return [one.rstrip() for one in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_what_does_not_fit_is_left_out_whole_and_named() -> None:
    table = plain_table("", ["one", "two"], ["price", "volume"], ["state"])
    table.add_row("abcdef", "ghijkl", "100465.25", "112.80789", "final")
    assert lines(table, 29) == [
        "one    two        price",
        "───────────────────────",
        "abcdef ghijkl 100465.25",
        "wider terminal: volume, state",
    ]
    assert "abcdef ghijkl 100465.25 112.80789 final" in lines(table, 39)


def test_sentences_wrap_before_a_column_goes() -> None:
    table = plain_table("", ["user", "channel"], ["sent", "refused"], ["last error"])
    table.add_row("ana", "main", "1,234", "0", "the address is wrong: https://discord.com/api/webhooks/1")
    assert lines(table, 49)[2:] == [
        "ana  main    1,234       0 the address is wrong:",
        "                           https://discord.com/ap",
        "                           i/webhooks/1",
    ]
    assert lines(table, 42)[0] == "user channel  sent last error"
    assert lines(table, 42)[-1] == "wider terminal: refused"


def test_sent_commands_and_their_outcomes_are_told_on_60_columns() -> None:
    payload = {"symbols": ["BTCUSDT", "ETHUSDT"]}
    sent = CommandRecord(
        "1", "local:ana", "bulk-add-symbols", "binance", payload, "normal", 1, 1, 2, 900, "done"
    )
    assert lines(commands_table([sent]), 60)[-2:] == [
        "1970-01-01 00:00 binance  bulk-add-symbols done",
        "wider terminal: by, took, what, why",
    ]
    assert "ETHUSDT" in "\n".join(lines(commands_table([sent]), 120))


@pytest.mark.parametrize(("width", "left_out"), [(60, "from, by, revision"), (120, "")])
def test_what_was_changed_is_told_on_60_columns(width: int, left_out: str) -> None:
    mutes = [json.dumps([{"exchange": "binance", "symbol": name}]) for name in ("DOGEUSDT", "SOLUSDT")]
    at = datetime(2026, 1, 5, 12, 30, 5, tzinfo=UTC)
    shown = lines(changes_table([SettingsChange(7, "alerts.mutes", *mutes, "local:ana", at)]), width)
    assert "alerts.mutes" in shown[3]
    assert "SOLUSDT" in "\n".join(shown)
    assert (f"wider terminal: {left_out}" in shown[-1]) == bool(left_out)
