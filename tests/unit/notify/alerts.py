"""An alert to judge and to write of."""

from __future__ import annotations

from typing import Any

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import AlertRow
from livermore_dagster.stores.postgres.deliveries import HeardAlert

BEGIN = 1_767_225_600_000
"""2026-01-01 00:00 UTC, a Thursday."""
M5 = Timeframe.M5


def heard(exchange: str = "binance", withdrawn_ms: int | None = None, **changes: Any) -> HeardAlert:
    """A level alert of the bar from 00:00 to 00:05."""
    own = {
        "value": 151.5,
        "signal": 120.0,
        "stage": "overbought",
        "open_ms": BEGIN,
        "reason": None,
        "age_ms": 5,
    }
    none = {"value": None, "signal": None, "stage": "unknown", "open_ms": None, "age_ms": None}
    facts: dict[str, Any] = {
        "symbol": "BTCUSDT", "timeframe": M5, "label": "level_150", "kind": "level", "direction": "up",
        "open_ms": BEGIN, "candle_end_ms": BEGIN + M5.ms, "triggered_ms": BEGIN + M5.ms + 1_500,
        "price": "67123.45", "price_source": "ticker", "price_age_ms": 800, "macdv": 151.5, "signal": 120.0,
        "histogram": 31.5, "stage": "overbought", "previous_label": "level_-200",
        "timeframes": {
            "1m": {**none, "reason": "not streamed"}, "5m": own,
            "15m": {**own, "value": -62.125, "stage": "reversing"},
            "1h": {**own, "reason": "stale"}, "4h": {**none, "reason": "unsupported"},
        },
        "bias": "bullish", "late": False, "revised": False, "id": 7, "attempt": 1,
    }  # fmt: skip
    names = {"binance": (2, "Binance"), "coinbase": (1, "Coinbase Advanced")}
    number, title = names[exchange]
    return HeardAlert(number, exchange, title, withdrawn_ms, AlertRow(**{**facts, **changes}))
