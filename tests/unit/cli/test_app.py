"""The root of the command line."""

from __future__ import annotations

import io
import sys

import pytest

from livermore_dagster.cli.app import COMMANDS, _load, main


def test_a_terminal_without_unicode_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(SystemExit) as ended:
        main(["near-alerts", "--help"])
    screen.flush()
    assert ended.value.code == 0
    assert b"closest to a level (?150" in screen.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["near-alerts", "board", "backfill", "audit"])
def test_a_list_of_timeframes_is_asked_for_in_the_same_words_everywhere(name: str) -> None:
    known = {word for option in _load(name).params for word in option.opts}
    assert {"--timeframe", "--timeframes", "-t"} <= known


def test_helps_break_lines_where_the_terminal_ends_and_nowhere_else() -> None:
    for name in COMMANDS:
        command = _load(name)
        for one in getattr(command, "commands", {"": command}).values():
            assert "\n" not in (one.help or "").replace("\n\n", ""), (name, one.name)
