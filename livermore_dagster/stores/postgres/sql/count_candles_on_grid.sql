SELECT count(*), count(*) FILTER (WHERE open_ms %% %(step_ms)s <> 0)
FROM candles
WHERE exchange_id = %(exchange_id)s
    AND timeframe = %(timeframe)s
    AND symbol = ANY(%(symbols)s)
    AND open_ms >= %(from_ms)s
