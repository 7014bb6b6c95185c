"""What an alert says of the six timeframes: values, ages, and a bias that nothing stale decides."""

from __future__ import annotations

from typing import Any

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.alert_rows import alert_row
from livermore_dagster.ingest.series_outcome import NewAlert
from livermore_dagster.market.alert_rules import Raised
from livermore_dagster.market.board import STALE
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.macdv import MacdvPoint
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import AlertRow

BINANCE = next(row for row in ROWS if row.name == "binance")
NOW = 1_767_657_600_000  # 2026-01-06T00:00:00Z
M5, D1 = Timeframe.M5, Timeframe.D1


def row_of(known: dict[Timeframe, dict[str, Any]], bars: int = 300) -> AlertRow:
    """An alert on the 5m candle that ended at NOW, reversing: bearish by itself."""
    open_ms = NOW - M5.ms
    candle = Candle(open_ms, "10", "11", "9", "10", "5")
    point = MacdvPoint(open_ms, -120.0, -90.0, -30.0, True, bars, bars, 0, None)
    stamped = StampedCandle("AAAUSDT", M5, candle, Rank.FINAL, NOW, Origin.LIVE)
    alert = NewAlert(stamped, point, Raised("level_-100", "level", "down", None), late=False, revised=False)
    return alert_row(BINANCE, alert, NOW, None, known)


def indicator(timeframe: Timeframe, age_ms: int) -> dict[str, Any]:
    """Rallying, and bullish, with its candle ended `age_ms` ago."""
    open_ms = NOW - age_ms - timeframe.ms
    return {"value": 80.0, "signal": 70.0, "stage": "rallying", "open_ms": open_ms, "reason": None}


def test_a_stage_counts_while_it_is_fresh() -> None:
    row = row_of({D1: indicator(D1, 2 * D1.ms + 60_000)})
    assert row.bias == "bullish"
    assert row.timeframes["1d"]["age_ms"] == 2 * D1.ms + 60_000
    assert row.timeframes["5m"]["age_ms"] == 0
    assert row.timeframes["1h"]["age_ms"] is None


def test_a_stale_stage_is_shown_with_its_age_and_counts_for_nothing() -> None:
    row = row_of({D1: indicator(D1, 2 * D1.ms + 60_001)})
    assert row.bias == "bearish"
    shown = row.timeframes["1d"]
    assert (shown["stage"], shown["value"], shown["reason"]) == ("rallying", 80.0, STALE)
    assert shown["age_ms"] == 2 * D1.ms + 60_001


def test_an_alert_of_a_warming_series_says_so() -> None:
    told = {bars: row_of({}, bars).timeframes["5m"] for bars in (60, 250)}
    assert [(one["warming"], one["n_eff"]) for one in told.values()] == [(True, 60), (False, 250)]
