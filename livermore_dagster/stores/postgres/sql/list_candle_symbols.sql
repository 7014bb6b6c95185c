-- A loose index scan: one look-up per symbol instead of one row per candle.
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
SELECT symbol FROM stepping
WHERE symbol IS NOT NULL AND EXISTS (
    SELECT 1 FROM candles
    WHERE candles.exchange_id = %(exchange_id)s AND candles.symbol = stepping.symbol
        AND candles.timeframe = %(timeframe)s
)
ORDER BY symbol
