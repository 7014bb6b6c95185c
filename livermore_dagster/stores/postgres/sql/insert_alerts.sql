-- Stored exactly once. A repetition returns nothing; one that a revision had withdrawn and another brings back
-- stands again: the notifier judges it anew, and tells it where it has not yet left.
INSERT INTO alert_history AS kept (
    exchange_id, symbol, timeframe, label, open_ms, kind, direction, candle_end_ms, triggered_ms, price,
    price_source, price_age_ms, macdv, signal, histogram, stage, previous_label, timeframes, bias, late, revised,
    publish_attempts
)
SELECT %(exchange_id)s, given.*, 1
FROM json_to_recordset(%(alerts)s::json) AS given (
    symbol text, timeframe text, label text, open_ms bigint, kind text, direction text, candle_end_ms bigint,
    triggered_ms bigint, price numeric, price_source text, price_age_ms bigint, macdv float8, signal float8,
    histogram float8, stage text, previous_label text, timeframes jsonb, bias text, late boolean, revised boolean
)
ON CONFLICT (exchange_id, symbol, timeframe, label, open_ms) DO UPDATE SET withdrawn_ms = NULL, routed_ms = NULL
WHERE kept.withdrawn_ms IS NOT NULL
RETURNING id, symbol, timeframe, label, open_ms, (xmax = 0) AS inserted
