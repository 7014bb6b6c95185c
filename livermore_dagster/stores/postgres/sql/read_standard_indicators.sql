SELECT
    open_ms, rsi_14, bollinger_upper, bollinger_middle, bollinger_lower, adx_14, obv, sma_20, sma_50, ema_9
FROM standard_indicators
WHERE exchange_id = %(exchange_id)s
    AND symbol = %(symbol)s
    AND timeframe = %(timeframe)s
    AND open_ms >= %(from_ms)s
ORDER BY open_ms
