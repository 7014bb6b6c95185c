"""The board on terminals of all widths: what is not shown is named, and how old it is always is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from rich.console import Console

from livermore_dagster.cli.board_command import Sort, _place
from livermore_dagster.cli.board_table import board_view
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.board import cells_of
from livermore_dagster.market.macdv_fold import LOW_ACTIVITY
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.board import BoardRow

ROW = next(row for row in ROWS if row.name == "binance")
NOW = 1_767_614_400_000  # 2026-01-05T12:00:00Z
ALL = tuple(Timeframe)


def board_row(symbol: str, rank: int, computed: Collection[Timeframe] = ALL, **change: Any) -> BoardRow:
    known = {
        tf: {"value": -312.4, "signal": 1.0, "stage": "oversold", "open_ms": NOW - tf.ms, "reason": None}
        for tf in computed
    }
    known |= {
        Timeframe(tf): {**known[Timeframe(tf)], **facts} for tf, facts in change.pop("cells", {}).items()
    }
    cells = cells_of(ROW, known, NOW, computed)
    return BoardRow(
        "binance", symbol, rank, "104312.55", "ticker", 0, 185_000, cells, "bullish", "Reversal Down?", "",
        **change,
    )  # fmt: skip


def drawn(rows: list[BoardRow], columns: int) -> list[str]:
    console = Console(width=columns, height=24, force_terminal=False)
    with console.capture() as caught:
        console.print(board_view(rows, None, NOW, "sim:7", columns, 24))
    return caught.get().splitlines()


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_board_fits_its_terminal(columns: int) -> None:
    lines = drawn([board_row(f"1000SATS{n}USDT"[-9:], n) for n in range(60)], columns)
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= columns
    assert lines[3].count("-312") == 6
    assert "…" not in lines[3]
    assert "more: a higher terminal" in lines[-1]
    assert lines[1].startswith("binance, 60 symbols")


@pytest.mark.parametrize("columns", [80, 84, 108, 120, 156, 200])
def test_the_age_is_shown_and_what_is_not_is_named(columns: int) -> None:
    lines = drawn([board_row("1000SATSUSDT", 1)], columns)
    assert " age" in lines[2]
    assert " 3m " in lines[3]
    missing = [name for name in ("folio", "portfolio") if name in lines[1]]
    assert bool(missing) == (not any(word in lines[2] for word in ("folio", "portfolio")))


def test_the_title_says_what_the_instance_does_and_what_is_not_computed() -> None:
    rows = [board_row("AAAUSDT", 1, (Timeframe.H1,), instance="paused")]
    assert drawn(rows, 120)[1] == "binance (paused), 1 symbol; not computed: 1m, 5m, 15m, 4h, 1d"
    assert drawn([board_row("AAAUSDT", 1)], 120)[1] == "binance, 1 symbol"
    assert rows[0].cells["4h"]["reason"] == "not computed"


@pytest.mark.parametrize(("instance", "said"), [("active", "few trades"), ("warming", "warming up")])
def test_no_value_has_its_reason_and_history_that_is_yet_to_come_is_no_lack_of_trades(
    instance: str, said: str
) -> None:
    none = {"value": None, "signal": None, "stage": "unknown", "reason": LOW_ACTIVITY}
    lines = drawn([board_row("AAAUSDT", 1, cells={"5m": none}, instance=instance)], 200)
    assert f" {said} " in lines[3]


def test_a_value_of_zero_is_a_value_to_sort_by() -> None:
    rows = [
        board_row(symbol, 1, cells={"1d": {"value": value}})
        for symbol, value in (("low", -1.0), ("zero", 0.0), ("high", 1.0))
    ]
    ranked = sorted(rows, key=lambda row: _place(row, Sort.MACDV, None))
    assert [row.symbol for row in ranked] == ["high", "zero", "low"]
