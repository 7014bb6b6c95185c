-- Alerts the notifier has not judged yet, oldest first. Nothing is locked: mark_alerts_routed says which of them are
-- still to be judged when that is stored.
SELECT alert_history.id, exchange_id, exchanges.name, exchanges.display_name, withdrawn_ms, symbol, timeframe, label,
    kind, direction, open_ms, candle_end_ms, triggered_ms, price::text, price_source, price_age_ms, macdv, signal,
    histogram, stage, previous_label, alert_history.timeframes, bias, late, revised
FROM alert_history
JOIN exchanges ON exchanges.id = alert_history.exchange_id
WHERE routed_ms IS NULL
ORDER BY alert_history.id
LIMIT %(limit)s
