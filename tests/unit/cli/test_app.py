"""The root of the command line."""

from __future__ import annotations

import io
import sys

import pytest

from livermore_dagster.cli.app import COMMANDS, _load, main, show_error
from livermore_dagster.errors import BadSetting


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sttaus",), "No such command 'sttaus'. Did you mean status?"),
        (("nonsense",), "No such command 'nonsense'. See: livermore --help"),
        (("retention", "list"), "No such command 'list'. There are: show, set."),
        (("near-alerts", "--within", "abc"), "'--within': 'abc'. Input should be a valid number"),
        (("alerts", "-n", "0"), "'-n': '0'. Input should be greater than or equal to 1."),
        (("board", "--sort", "luck"), "'--sort': 'luck' is not one of 'rank', 'symbol'"),
        (("status", "--wach"), "No such option: --wach (Possible options: --watch)"),
    ],
)
def test_a_wrong_word_is_named_with_what_can_be_meant(
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("terminal", "lines"), [(True, 2), (False, 1)])
def test_an_error_breaks_between_words_on_a_terminal_and_nowhere_else(
    terminal: bool, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "40")
    show_error(
        BadSetting("--since 'x' is no time.", "Write it like 2026-01-05T00:00:00Z, or livermore --help.")
    )
    told = screen.getvalue().splitlines()[1:]
    assert len(told) == lines
    assert " ".join(told).endswith(
        "2026-01-05T00:00:00Z, or livermore --help.\x1b[0m" if terminal else "--help."
    )
