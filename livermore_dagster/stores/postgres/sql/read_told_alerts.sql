-- What users were told, or are about to be, of the series these alerts belong to: what is sent or waits, and what was
-- tried, for it may have arrived. What was refused, or withdrawn before it left, does not count.
SELECT DISTINCT user_id, told.exchange_id, told.symbol, told.timeframe, told.label, told.kind, told.direction,
    told.open_ms, told.candle_end_ms
FROM (
    SELECT exchange_id, symbol, timeframe, min(candle_end_ms) AS from_ms
    FROM alert_history
    WHERE id = ANY (%(ids)s)
    GROUP BY exchange_id, symbol, timeframe
) AS series
JOIN alert_history AS told USING (exchange_id, symbol, timeframe)
JOIN alert_deliveries ON alert_deliveries.alert_id = told.id
WHERE told.candle_end_ms > series.from_ms - %(window_ms)s
    AND (
        alert_deliveries.state IN ('pending', 'sent')
        OR alert_deliveries.attempts > 0 AND alert_deliveries.state <> 'failed'
    )
    AND (told.withdrawn_ms IS NULL OR alert_deliveries.attempts > 0)
