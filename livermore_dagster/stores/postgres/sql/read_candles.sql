SELECT open_ms, open::text, high::text, low::text, close::text, volume::text, trades, rank, stamp_ms
FROM candles
WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s
    AND open_ms >= %(start_ms)s AND open_ms < %(end_ms)s
ORDER BY open_ms
LIMIT %(limit)s
