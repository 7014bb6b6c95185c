-- The attempt is durable before the message leaves, so that a repetition after a crash carries a higher one.
-- What was withdrawn before it left is not sent any more, and noted as done.
WITH withdrawn AS (
    UPDATE alert_history
    SET published_ms = floor(extract(epoch FROM clock_timestamp()) * 1000)
    WHERE published_ms IS NULL AND exchange_id = %(exchange_id)s AND id <> ALL (%(busy)s)
        AND withdrawn_ms IS NOT NULL
)
UPDATE alert_history AS taken
SET publish_attempts = taken.publish_attempts + 1
FROM (
    SELECT id FROM alert_history
    WHERE published_ms IS NULL AND exchange_id = %(exchange_id)s AND id <> ALL (%(busy)s)
        AND withdrawn_ms IS NULL
    ORDER BY id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) AS waiting
WHERE taken.id = waiting.id
RETURNING taken.id, taken.publish_attempts, symbol, timeframe, label, kind, direction, open_ms, candle_end_ms,
    triggered_ms, price::text, price_source, price_age_ms, macdv, signal, histogram, stage, previous_label, timeframes,
    bias, late, revised
