-- The parts of the window that are not known by a bucket of a candle (off-grid rows count for the bucket they open
-- in), the ledger, or the series' beginning.
WITH known AS (
    SELECT int8range(open_ms - open_ms %% %(step_ms)s, open_ms - open_ms %% %(step_ms)s + %(step_ms)s) AS span
    FROM candles
    WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s
        AND open_ms >= %(start_ms)s - %(start_ms)s %% %(step_ms)s AND open_ms < %(end_ms)s
    UNION ALL
    SELECT int8range(from_ms, to_ms)
    FROM asked_ranges
    WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s
        AND from_ms < %(end_ms)s AND to_ms > %(start_ms)s
    UNION ALL
    SELECT int8range(NULL, first_open_ms)
    FROM series
    WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s
),
spans AS (
    SELECT
        int8multirange(int8range(%(start_ms)s, %(end_ms)s)) AS whole,
        coalesce(range_agg(span), '{}'::int8multirange) AS covered
    FROM known
)
SELECT lower(part), upper(part)
FROM (
    SELECT unnest(whole - covered) AS part FROM spans
) AS parts
ORDER BY lower(part)
