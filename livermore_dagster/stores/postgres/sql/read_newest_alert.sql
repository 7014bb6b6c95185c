SELECT alert_history.id, exchange_id, exchanges.name, exchanges.display_name, withdrawn_ms, symbol, timeframe, label,
    kind, direction, open_ms, candle_end_ms, triggered_ms, price::text, price_source, price_age_ms, macdv, signal,
    histogram, stage, previous_label, alert_history.timeframes, bias, late, revised
FROM alert_history
JOIN exchanges ON exchanges.id = alert_history.exchange_id
ORDER BY candle_end_ms DESC, alert_history.id DESC
LIMIT 1
