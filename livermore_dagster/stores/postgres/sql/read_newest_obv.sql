SELECT open_ms, obv
FROM standard_indicators
WHERE exchange_id = %(exchange_id)s
    AND symbol = %(symbol)s
    AND timeframe = %(timeframe)s
    AND open_ms < %(before_ms)s
    AND obv IS NOT NULL
ORDER BY open_ms DESC
LIMIT 1
