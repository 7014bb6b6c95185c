"""A table of alerts says what is the matter with them on terminals of all widths."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from livermore_dagster.cli import market_tables

ALERT: dict[str, Any] = {
    "candle_end_ms": 1_767_614_400_000, "source_exchange": "coinbase", "symbol": "1000SATSUSDT",
    "timeframe": "15m", "label": "reversal_overbought", "value": -312.44, "price": "0.00012345",
    "stage": "rebounding", "bias": "bullish", "late": False, "revised": False, "timeframes": {},
}  # fmt: skip


def drawn(rows: list[dict[str, Any]], columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    screen = Console(width=columns, force_terminal=False)
    monkeypatch.setattr(market_tables, "console", lambda: screen)
    with screen.capture() as caught:
        market_tables.show_alerts(rows)
    return caught.get()


@pytest.mark.parametrize("columns", [80, 124])
def test_marks_are_shown_where_it_is_narrow(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = {
        **ALERT,
        "late": True,
        "withdrawn_ms": 5,
        "timeframes": {"15m": {"warming": True}},
    }
    told = drawn([ALERT, marked], columns, monkeypatch)
    assert "~L×" in told
    assert told.splitlines()[-1] == "~ warming  L late  × withdrawn"
    assert "late" not in drawn([ALERT], columns, monkeypatch)
    assert max(map(len, told.splitlines())) <= columns


def test_marks_are_words_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "late, withdrawn" in drawn([{**ALERT, "late": True, "withdrawn_ms": 5}], 140, monkeypatch)
