SELECT * FROM (
    SELECT alert_history.id, exchanges.name, symbol, timeframe, label, kind, direction, open_ms, candle_end_ms,
        triggered_ms, price::text, price_source, price_age_ms, macdv, signal, histogram, stage, previous_label,
        alert_history.timeframes, bias, late, revised, exchange_id, withdrawn_ms, published_ms, publish_attempts
    FROM alert_history
    JOIN exchanges ON exchanges.id = alert_history.exchange_id
    WHERE (%(exchange)s::text IS NULL OR exchanges.name = %(exchange)s)
      AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s)
      AND (%(timeframe)s::text IS NULL OR timeframe = %(timeframe)s)
      AND (%(label)s::text IS NULL OR label = %(label)s OR kind = %(label)s)
      AND candle_end_ms >= %(since_ms)s
      AND alert_history.id > %(after_id)s
    ORDER BY alert_history.candle_end_ms DESC, alert_history.id DESC
    LIMIT %(limit)s
) AS newest
ORDER BY candle_end_ms, id
