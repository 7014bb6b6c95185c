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


def followed(row: dict[str, Any], columns: int) -> list[str]:
    return [
        market_tables.alert_heading(columns).plain,
        *market_tables.alert_line(row, columns).plain.split("\n"),
    ]


@pytest.mark.parametrize("columns", [60, 80, 124, 140])
def test_a_followed_alert_fits_and_its_columns_have_names(columns: int) -> None:
    alert = {**ALERT, "symbol": "DOGEUSDT", "price": "63999.25"}
    heading, line = followed(alert, columns)
    assert max(len(heading.rstrip()), len(line)) <= columns
    assert heading.index("symbol") == line.index("DOGEUSDT")
    assert heading.index("MACD-V") + len("MACD-V") == line.index("-312.44") + len("-312.44")
    assert ("price" in heading) == ("63999.25" in line) == (columns > 60)


@pytest.mark.parametrize(("columns", "lines"), [(60, 2), (80, 2), (100, 1), (140, 1)])
def test_what_is_the_matter_with_a_followed_alert_is_told_in_words(columns: int, lines: int) -> None:
    told = followed({**ALERT, "symbol": "BTC-USD", "price": "63999.25", "late": True}, columns)[1:]
    assert (len(told), told[-1].split()[-1]) == (lines, "late")
    assert all(len(line) <= columns for line in told)
