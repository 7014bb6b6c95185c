"""An alert as it is stored and sent (S7), and an indicator as it is kept and published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from livermore_dagster.ingest.series_fold import SeriesFold
from livermore_dagster.ingest.series_outcome import NewAlert
from livermore_dagster.market.board import cells_of, leaning
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.macdv import FORMULA, MacdvPoint
from livermore_dagster.market.stages import Stage, stage_of
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import AlertRow
from livermore_dagster.stores.postgres.indicators import public_reason
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.tickers import Ticker

__all__ = ["alert_facts", "alert_message", "alert_row", "indicator_facts"]

_encode = msgspec.json.Encoder().encode


def indicator_facts(row: ExchangeRow, series: SeriesFold, point: MacdvPoint, close: str) -> dict[str, Any]:
    """The `indicator:` key and its channel, as a JSON object. Internal: MACD-V is not public (R10)."""
    shown = (point.macdv, point.signal, point.histogram) if point.publishable else (None, None, None)
    stage = stage_of(point.macdv, point.signal) if point.publishable else Stage.UNKNOWN
    return {
        "source_exchange_id": row.id,
        "source_exchange": row.name,
        "symbol": series.symbol,
        "timeframe": series.timeframe.value,
        "type": keys.MACDV,
        "open_ms": point.open_ms,
        "end_ms": point.open_ms + series.timeframe.ms,
        "close": close,
        "value": shown[0],
        "signal": shown[1],
        "histogram": shown[2],
        "stage": stage.value,
        "reason": public_reason(point),
        "observed": point.observed,
        "seeded": point.seeded,
        "warming": point.warming,
        "n_eff": point.n_eff,
        "span_bars": point.span_bars,
        "gap_ratio": round(point.gap_ratio, 6),
        "seed_open_ms": point.seed_open_ms,
        "unknown_bars": series.unknown_bars,
        "formula": FORMULA,
    }


def alert_row(
    row: ExchangeRow,
    alert: NewAlert,
    now_ms: int,
    ticker: Ticker | None,
    known: Mapping[Timeframe, Mapping[str, Any]],
) -> AlertRow:
    """`now_ms`: exchange clock at the proof. `known`: newest indicators of the symbol by timeframe."""
    stamped, point, raised = alert.stamped, alert.point, alert.raised
    end_ms = stamped.end_ms
    stage = stage_of(point.macdv, point.signal)
    own = {"value": point.macdv, "signal": point.signal, "stage": stage.value, "open_ms": point.open_ms}
    board = cells_of(row, {**known, stamped.timeframe: {**own, "reason": point.reason}}, now_ms)
    # Raised though the beginning of the series still moves its values: that is told with it.
    board[stamped.timeframe.value] |= {"warming": point.warming, "n_eff": point.n_eff}
    priced = (ticker.price, "ticker", ticker.ts) if ticker else (stamped.candle.close, "candle_close", end_ms)
    return AlertRow(
        symbol=stamped.symbol,
        timeframe=stamped.timeframe,
        label=raised.label,
        kind=raised.kind,
        direction=raised.direction,
        open_ms=point.open_ms,
        candle_end_ms=end_ms,
        triggered_ms=max(now_ms, end_ms),
        price=priced[0],
        price_source=priced[1],
        price_age_ms=max(0, now_ms - priced[2]),
        macdv=point.macdv if point.macdv is not None else 0.0,
        signal=point.signal,
        histogram=point.histogram,
        stage=stage.value,
        previous_label=raised.previous_label,
        timeframes=board,
        bias=leaning(board).value,
        late=alert.late,
        revised=alert.revised,
    )


def alert_facts(exchange_id: int, exchange: str, alert: AlertRow) -> dict[str, Any]:
    """What is told of an alert wherever it is told, as a JSON object."""
    return {
        "id": alert.id,
        "attempt": alert.attempt,
        "source_exchange_id": exchange_id,
        "source_exchange": exchange,
        "symbol": alert.symbol,
        "timeframe": alert.timeframe.value,
        "label": alert.label,
        "previous_label": alert.previous_label,
        "kind": alert.kind,
        "direction": alert.direction,
        "open_ms": alert.open_ms,
        "candle_end_ms": alert.candle_end_ms,
        "triggered_ms": alert.triggered_ms,
        "price": alert.price,
        "price_source": alert.price_source,
        "price_age_ms": alert.price_age_ms,
        "value": alert.macdv,
        "signal": alert.signal,
        "histogram": alert.histogram,
        "stage": alert.stage,
        "bias": alert.bias,
        "timeframes": alert.timeframes,
        "late": alert.late,
        "revised": alert.revised,
    }


def alert_message(row: ExchangeRow, alert: AlertRow) -> str:
    """What is published of an alert on `channel:alerts:{exchange_id}` (outbox.py)."""
    return _encode(alert_facts(row.id, row.name, alert)).decode()
