SELECT wanted.symbol, facts.held, facts.first_open_ms, facts.last_open_ms
FROM unnest(%(symbols)s::text[]) WITH ORDINALITY AS wanted (symbol, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS held, min(open_ms) AS first_open_ms, max(open_ms) AS last_open_ms
    FROM candles
    WHERE exchange_id = %(exchange_id)s AND symbol = wanted.symbol AND timeframe = %(timeframe)s
) AS facts
WHERE facts.held > 0
ORDER BY wanted.place
