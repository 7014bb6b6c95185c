SELECT wanted.symbol, facts.held, facts.first_open_ms, facts.last_open_ms
FROM unnest(%(symbols)s::text[]) WITH ORDINALITY AS wanted (symbol, place)
CROSS JOIN LATERAL (
    SELECT
        (
            SELECT count(*)
            FROM (
                SELECT 1
                FROM candles
                WHERE exchange_id = %(exchange_id)s AND symbol = wanted.symbol AND timeframe = %(timeframe)s
                LIMIT %(count_to)s
            ) AS counted
        ) AS held,
        -- Each by one look into the primary key.
        (
            SELECT min(open_ms)
            FROM candles
            WHERE exchange_id = %(exchange_id)s AND symbol = wanted.symbol AND timeframe = %(timeframe)s
        ) AS first_open_ms,
        (
            SELECT max(open_ms)
            FROM candles
            WHERE exchange_id = %(exchange_id)s AND symbol = wanted.symbol AND timeframe = %(timeframe)s
        ) AS last_open_ms
) AS facts
WHERE facts.held > 0
ORDER BY wanted.place
