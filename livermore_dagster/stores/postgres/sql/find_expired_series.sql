-- Series whose oldest candle lies before a time, and that candle's open; one look into the index per symbol.
WITH RECURSIVE stepping AS (
    (
        SELECT symbol FROM candles WHERE exchange_id = %(exchange_id)s ORDER BY symbol LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT candles.symbol FROM candles
        WHERE candles.exchange_id = %(exchange_id)s AND candles.symbol > stepping.symbol
        ORDER BY candles.symbol LIMIT 1
    )
    FROM stepping
    WHERE stepping.symbol IS NOT NULL
)
SELECT stepping.symbol, oldest.open_ms
FROM stepping
CROSS JOIN LATERAL (
    SELECT min(open_ms) AS open_ms
    FROM candles
    WHERE exchange_id = %(exchange_id)s AND symbol = stepping.symbol AND timeframe = %(timeframe)s
) AS oldest
WHERE oldest.open_ms < %(before_ms)s
ORDER BY stepping.symbol
