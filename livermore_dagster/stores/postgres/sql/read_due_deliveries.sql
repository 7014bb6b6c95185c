-- What is due at a channel: what was never tried first, singles before digests, oldest first; then what was tried in
-- vain, the longest untried first, so that one that is never taken holds up nothing. A digest waits until nothing has
-- come to it for a while, or its first entry has waited long enough. With digest_of: that exchange's digest alone.
SELECT alert_id, alert_deliveries.attempts, form, exchange_id, exchanges.name, exchanges.display_name, withdrawn_ms,
    symbol, timeframe, label, kind, direction, open_ms, candle_end_ms, triggered_ms, price::text, price_source,
    price_age_ms, macdv, signal, histogram, stage, previous_label, alert_history.timeframes, bias, late, revised
FROM alert_deliveries
JOIN alert_history ON alert_history.id = alert_id
JOIN exchanges ON exchanges.id = alert_history.exchange_id
WHERE user_id = %(user_id)s AND channel = %(channel)s AND state = 'pending' AND next_attempt_ms <= %(now_ms)s
    AND (%(digest_of)s::smallint IS NULL OR form = 'digest' AND exchange_id = %(digest_of)s::smallint)
    AND (form = 'single' OR exchange_id = ANY (
        SELECT held.exchange_id
        FROM alert_deliveries AS waiting
        JOIN alert_history AS held ON held.id = waiting.alert_id
        WHERE waiting.user_id = %(user_id)s AND waiting.channel = %(channel)s AND waiting.state = 'pending'
            AND waiting.form = 'digest'
        GROUP BY held.exchange_id
        HAVING max(waiting.routed_ms) <= %(now_ms)s - %(hold_ms)s
            OR min(waiting.routed_ms) <= %(now_ms)s - %(hold_most_ms)s
    ))
ORDER BY alert_deliveries.attempts > 0, alert_deliveries.attempts = 0 AND form = 'single' DESC, next_attempt_ms,
    alert_id
LIMIT %(limit)s
