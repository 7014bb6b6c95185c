-- Noted in series, or told by the ledger: the oldest candle follows a long stretch that holds none, no older day
-- is known, and the day before the stretch is proven absent (the series of days needs no such witness).
SELECT wanted.symbol, coalesce(series.first_open_ms, listed.first_open_ms)
FROM unnest(%(symbols)s::text[]) AS wanted (symbol)
LEFT JOIN series
    ON series.exchange_id = %(exchange_id)s
    AND series.symbol = wanted.symbol
    AND series.timeframe = %(timeframe)s
LEFT JOIN LATERAL (
    SELECT oldest.open_ms AS first_open_ms
    FROM (
        SELECT min(open_ms) AS open_ms, min(open_ms) - min(open_ms) %% %(step_ms)s AS slot_ms
        FROM candles
        WHERE exchange_id = %(exchange_id)s AND symbol = wanted.symbol AND timeframe = %(timeframe)s
    ) AS oldest
    INNER JOIN asked_ranges AS quiet
        ON quiet.exchange_id = %(exchange_id)s
        AND quiet.symbol = wanted.symbol
        AND quiet.timeframe = %(timeframe)s
        AND quiet.from_ms <= oldest.slot_ms - %(quiet_ms)s
        AND quiet.to_ms >= oldest.slot_ms
    WHERE NOT EXISTS (
        SELECT FROM candles AS day
        WHERE day.exchange_id = %(exchange_id)s
            AND day.symbol = wanted.symbol
            AND day.timeframe = '1d'
            AND day.open_ms <= quiet.from_ms - 86400000
    )
    AND (
        %(timeframe)s = '1d'
        OR EXISTS (
            SELECT FROM asked_ranges AS day
            WHERE day.exchange_id = %(exchange_id)s
                AND day.symbol = wanted.symbol
                AND day.timeframe = '1d'
                AND day.from_ms <= quiet.from_ms - quiet.from_ms %% 86400000 - 86400000
                AND day.to_ms >= quiet.from_ms - quiet.from_ms %% 86400000
        )
    )
) AS listed ON series.first_open_ms IS NULL
WHERE coalesce(series.first_open_ms, listed.first_open_ms) IS NOT NULL
