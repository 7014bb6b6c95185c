-- Where the newest so many observed candles of the span begin; no row where it holds fewer.
SELECT open_ms
FROM candles
WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s
    AND open_ms >= %(start_ms)s AND open_ms < %(end_ms)s AND volume > 0
ORDER BY open_ms DESC
OFFSET %(count)s - 1
LIMIT 1
