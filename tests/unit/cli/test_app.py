"""The root of the command line."""

from __future__ import annotations

import io
import sys

import pytest

from livermore_dagster.cli.app import main


def test_a_terminal_without_unicode_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(SystemExit) as ended:
        main(["near-alerts", "--help"])
    screen.flush()
    assert ended.value.code == 0
    assert b"closest to a level (?150" in screen.buffer.getvalue()  # type: ignore[attr-defined]
