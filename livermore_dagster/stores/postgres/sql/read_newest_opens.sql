SELECT wanted.symbol, newest.open_ms
FROM unnest(%(symbols)s::text[]) AS wanted (symbol)
CROSS JOIN LATERAL (
    SELECT open_ms
    FROM candles
    WHERE exchange_id = %(exchange_id)s AND symbol = wanted.symbol AND timeframe = %(timeframe)s
    ORDER BY open_ms DESC
    LIMIT 1
) AS newest
