SELECT symbol, open_ms, open::text, high::text, low::text, close::text, volume::text, count(*) OVER ()
FROM candles
WHERE exchange_id = %(exchange_id)s
    AND timeframe = %(timeframe)s
    AND symbol = ANY(%(symbols)s)
    AND open_ms >= %(from_ms)s
    AND NOT (
        low > 0 AND low <= open AND low <= close AND high >= open AND high >= close AND volume >= 0
    )
ORDER BY symbol, open_ms
LIMIT 50
