-- Stored exactly once. A repetition returns nothing; one that a revision had withdrawn and another brings back
-- stands again, and is not sent again.
INSERT INTO alert_history AS kept (
    exchange_id, symbol, timeframe, label, open_ms, kind, direction, candle_end_ms, triggered_ms, price,
    price_source, price_age_ms, macdv, signal, histogram, stage, previous_label, timeframes, bias, late, revised,
    publish_attempts
)
SELECT %(exchange_id)s, given.*, 1
FROM unnest(
    %(symbol)s::text[], %(timeframe)s::text[], %(label)s::text[], %(open_ms)s::bigint[], %(kind)s::text[],
    %(direction)s::text[], %(candle_end_ms)s::bigint[], %(triggered_ms)s::bigint[], %(price)s::numeric[],
    %(price_source)s::text[], %(price_age_ms)s::bigint[], %(macdv)s::float8[], %(signal)s::float8[],
    %(histogram)s::float8[], %(stage)s::text[], %(previous_label)s::text[], %(timeframes)s::jsonb[],
    %(bias)s::text[], %(late)s::boolean[], %(revised)s::boolean[]
) AS given
ON CONFLICT (exchange_id, symbol, timeframe, label, open_ms) DO UPDATE SET withdrawn_ms = NULL
WHERE kept.withdrawn_ms IS NOT NULL
RETURNING id, symbol, timeframe, label, open_ms, (xmax = 0) AS inserted
